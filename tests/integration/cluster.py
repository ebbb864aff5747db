# SPDX-License-Identifier: Apache-2.0
"""A local cluster of real processes for tests, driven through the command line like a user would.

Every case prints `ok - name`, `not ok - name: why` or `skip - name: why`; tests/run.py counts them.
"""
import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("BB_BIN", os.path.join(ROOT, "build/bin"))
BUSBAR = os.path.join(BIN, "busbar")
BUSBARD = os.path.join(BIN, "busbard")
SHARED = os.environ.get("BB_SHARED", "")
MAPS = os.path.join(ROOT, "tests/integration/maps")
EVER = ["--from", "1970-01-01T00:00:00Z", "--to", "2262-01-01T00:00:00Z"]
# How long is waited where a test does not say it: nothing is measured there, and a machine may be busy.
PATIENCE_S = 60
PATIENCE_OF = {"status": 10, "settle": 200, **dict.fromkeys(
    ("write", "import", "query", "last", "battery", "quarantine", "delete"), PATIENCE_S)}

_failed = 0


class Failure(Exception):
    """A case that does not hold; its text is the reason."""


def expect(condition, why):
    if not condition:
        raise Failure(why)


@contextlib.contextmanager
def case(name):
    """One numbered statement about the product. Goes on with the next case after a failure."""
    global _failed
    begin = time.monotonic()
    try:
        yield
        print(f"ok - {name} ({time.monotonic() - begin:.1f} s)", flush=True)
    except Failure as failure:
        _failed += 1
        print(f"not ok - {name}: {failure}", flush=True)
    except Exception as error:  # a test that breaks is a failed test
        _failed += 1
        where = traceback.extract_tb(error.__traceback__)[-1]
        print(f"not ok - {name}: {type(error).__name__}: {error} (line {where.lineno})", flush=True)


def skip(name, why):
    print(f"skip - {name}: {why}", flush=True)


def finish():
    sys.exit(1 if _failed else 0)


def run(*words, stdin=None, timeout_s=240, env=None, text=True):
    """Runs busbar; returns a CompletedProcess with text output."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run([BUSBAR, *words], input=data, capture_output=True, timeout=timeout_s,
                          env={**os.environ, **(env or {})}, check=False)
    if text:
        done.stdout = done.stdout.decode()
        done.stderr = done.stderr.decode(errors="replace")
    return done


class Cluster:
    """`busbar cluster init` and `up` in a temporary folder; everything ends with the block."""

    def __init__(self, *init_options, name="test", start=True):
        self.folder = tempfile.mkdtemp(prefix="busbar-test-")
        self.dir = os.path.join(self.folder, "cluster")
        self.init_options = list(init_options)
        self.name = name
        self.start = start

    def __enter__(self):
        done = run("cluster", "init", self.dir, "--name", self.name, *self.init_options)
        if done.returncode != 0:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise Failure(f"cluster init: status {done.returncode}: {done.stderr}")
        if self.start:
            self.up()
        return self

    def __exit__(self, *_):
        run("cluster", "down", self.dir, timeout_s=60)
        for node in self.nodes():
            pid = self.pid(node)
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if os.environ.get("BB_KEEP"):
            print(f"# kept {self.folder}", flush=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def nodes(self):
        return sorted(os.listdir(os.path.join(self.dir, "nodes")))

    def path(self, node, name):
        return os.path.join(self.dir, "nodes", node, name)

    def pid(self, node):
        """Process id of a running node, else 0."""
        try:
            with open(self.path(node, "busbard.pid"), encoding="ascii") as file:
                pid = int(file.read().strip())
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
                if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return 0
            return pid
        except (OSError, ValueError):
            return 0

    def log(self, node):
        try:
            with open(self.path(node, "busbard.log"), encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            return ""

    def up(self):
        done = run("cluster", "up", self.dir, "--timeout", f"{PATIENCE_S}s", timeout_s=2 * PATIENCE_S)
        expect(done.returncode == 0, f"cluster up: status {done.returncode}: {done.stdout}{done.stderr}")

    def down(self):
        done = run("cluster", "down", self.dir, "--timeout", f"{PATIENCE_S}s", timeout_s=2 * PATIENCE_S)
        expect(done.returncode == 0, f"cluster down: status {done.returncode}: {done.stderr}")

    def kill(self, node, signal_name="KILL"):
        done = run("cluster", "kill", self.dir, node, "--signal", signal_name)
        expect(done.returncode == 0, f"cluster kill {node}: {done.stderr}")

    def restart(self, node):
        done = run("cluster", "restart", self.dir, node, "--timeout", f"{PATIENCE_S}s", timeout_s=3 * PATIENCE_S)
        expect(done.returncode == 0, f"cluster restart {node}: {done.stdout}{done.stderr}")

    def client(self, role="client"):
        return os.path.join(self.dir, f"{role}.yaml")

    def cli(self, *words, role="client", **options):
        if words[0] in PATIENCE_OF and "--timeout" not in words:
            words += ("--timeout", f"{PATIENCE_OF[words[0]]}s")
        return run("-c", self.client(role), *words, **options)

    def good(self, *words, **options):
        """As cli, and the exit status must be 0; returns standard output."""
        done = self.cli(*words, **options)
        expect(done.returncode == 0,
               f"`busbar {' '.join(words[:4])}` ended with {done.returncode}: {done.stderr[-600:]}")
        return done.stdout

    def json(self, *words, **options):
        return json.loads(self.good(*words, "-o", "json", **options))

    def write(self, text, *words, **options):
        """Writes line protocol; returns (summary, completed process)."""
        done = self.cli("write", *words, "-o", "json", stdin=text, **options)
        summary = json.loads(done.stdout) if done.stdout.strip() else {}
        return summary, done

    def refused(self, named, *words, status=4, deadlines_s=(1, 5, 25), **options):
        """Runs busbar with a deadline until it ends with `status` and names the reason. A deadline that passed before
        a node could say why is tried again with a longer one; another status is a failure at once."""
        for deadline_s in deadlines_s:
            begin = time.monotonic()
            done = self.cli(*words, "--timeout", f"{deadline_s}s", **options)
            done.late_s = time.monotonic() - begin - deadline_s
            expect(done.returncode == status, f"{words}: status {done.returncode}, expected {status}: {done.stderr[-600:]}")
            if named in done.stderr:
                return done
        raise Failure(f"'{named}' is not in: {done.stderr[-600:]}")

    def status(self):
        return self.json("status")

    def wait(self, what, condition, timeout_s=PATIENCE_S):
        """Polls `condition` until it is true; the deadline is a failure, not a measurement."""
        limit = time.monotonic() + timeout_s
        last = None
        while time.monotonic() < limit:
            try:
                if condition():
                    return
            except (Failure, json.JSONDecodeError, OSError, http.client.HTTPException) as error:
                last = error  # a node that is not there yet refuses connections
            time.sleep(0.1)
        raise Failure(f"{what} did not happen within {timeout_s} s ({last or 'condition false'})")

    def wait_in_step(self, timeout_s=2 * PATIENCE_S):
        """Every node is up and is known to lack nothing, not even what was written just now."""
        self.wait("every replica in step", lambda: self.is_caught_up() and self.status()["unequal"] == 0, timeout_s)

    def is_caught_up(self):
        """Every node is up and lacks nothing but what was written just now: the partition of a chunk that not all
        replicas have told of is unequal, so while something is written there nearly always is one."""
        return all(n["up"] and n["lag_chunks"] == 0 for n in self.status()["nodes"])

    def count(self, *words, **options):
        """Points in answers, over all metrics."""
        ever = [] if "--from" in words else EVER
        answer = self.json("query", *ever, "--agg", "count", *words, **options)
        expect(answer["complete"], f"partial answer: {answer['missing_partitions'][:5]}")
        column = answer["columns"].index("count")
        return sum(row[column] for row in answer["rows"])
