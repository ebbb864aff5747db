# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: the generator's data, clusters of real nodes, CPU time from /proc."""
import os
import re
import shutil
import subprocess
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("BB_BIN", os.path.join(ROOT, "build/bin"))
BUSBAR = os.path.join(BIN, "busbar")
BUSBARD = os.path.join(BIN, "busbard")
BENCH = os.path.join(BIN, "busbar-bench")
SHARED = os.environ.get("BB_SHARED") or os.path.join(ROOT, "../shared")
START_MS = 1767225600000  # 2026-01-01T00:00:00Z
M5BAT = [
    ("m5bat-joint.yaml", "system-and-units-1-10-2023-04-07-1s.csv.gz"),
    ("m5bat-unit10.yaml", "unit10-2023-04-13-1s.csv.gz"),
]
TICKS = os.sysconf("SC_CLK_TCK")


class Broken(Exception):
    """A measurement that could not be made, or whose answer was wrong."""


def good(words, what, **options):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, **options)
    if done.returncode != 0:
        raise Broken(f"{what}: status {done.returncode}: {done.stderr.decode(errors='replace')[-600:]}")
    return done.stdout.decode()


def cpu_s(pid):
    """User and system time of a process so far."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def bytes_below(folder):
    """What the files below take on disk, as du says: sparse and preallocated parts count as they are."""
    total = 0
    for path, _, names in os.walk(folder):
        total += sum(os.lstat(os.path.join(path, name)).st_blocks * 512 for name in names)
    return total


class Generator:
    """The yardstick's generator where it is present; else the project's own fleet serves."""

    def __init__(self, folder):
        source = os.path.join(SHARED, "bench/gen.c")
        self.program = None
        if os.path.isfile(source):
            self.program = os.path.join(folder, "gen")
            good(["cc", "-O2", "-o", self.program, source, "-lm"], "the generator")

    def words(self, mode, batteries, step_ms, seconds, pattern=None, start_ms=START_MS):
        words = [self.program, "-m", mode, "-n", str(batteries), "-s", str(step_ms), "-t", str(seconds),
                 "-b", str(start_ms)]
        return words + (["-o", pattern] if pattern else [])

    def raw(self, path, hours, start_ms=START_MS):
        """Options that give busbar-bench `hours` of the yardstick; without its generator, always the same ones."""
        if not self.program:
            return ["--hours", str(hours)]
        good(self.words("raw", 1000, 10000, hours * 3600, path.replace("%", "%%") + "-%d", start_ms), "the generator")
        os.rename(path + "-0", path)
        return ["--data", path]

    def influx(self, path, hours):
        """Line protocol with times in ms; the number of its points."""
        words = self.words("influx", 1000, 10000, hours * 3600)
        if not self.program:
            words = [BUSBAR, "simulate", "--duration", f"{hours}h"]
        with open(path, "wb") as out:
            subprocess.run(words, stdout=out, stderr=subprocess.DEVNULL, check=True)
        if self.program:
            return hours * 360 * 1000 * 12
        with open(path, "rb") as made:
            return sum(line.count(b"=") - 1 for line in made)

    def precision(self):
        return "ms" if self.program else "ns"


class Cluster:
    """A fresh local cluster; gone with the block."""

    def __init__(self, folder, name, nodes=1, memory=None):
        self.folder = os.path.join(folder, name)
        self.nodes = nodes
        self.memory = memory  # memory_bytes of each node; None = the default

    def __enter__(self):
        good([BUSBAR, "cluster", "init", self.folder, "--nodes", str(self.nodes)], "cluster init")
        for node in self.each() if self.memory else []:
            path = os.path.join(self.folder, "nodes", node, "busbard.yaml")
            with open(path, encoding="utf-8") as file:
                text = re.sub(r"memory_bytes: \S+", f"memory_bytes: {self.memory}", file.read())
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        # In this session, whereas "cluster up" begins one for each: the kernel schedules sessions as groups, and what
        # nodes do in the background, at low priority, would count as much as what the others' clients wait for.
        for node in self.each():
            home = os.path.join(self.folder, "nodes", node)
            good(["sh", "-c", 'umask 077; "$0" --config "$1/busbard.yaml" </dev/null >>"$1/busbard.log" 2>&1 & echo $! >"$1/busbard.pid"',
                  BUSBARD, home], "start")
        good([BUSBAR, "cluster", "up", self.folder], "cluster up")
        return self

    def __exit__(self, *_):
        subprocess.run([BUSBAR, "cluster", "down", self.folder], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def client(self):
        return os.path.join(self.folder, "client.yaml")

    def each(self):
        return sorted(os.listdir(os.path.join(self.folder, "nodes")))

    def cpu_s(self):
        total = 0
        for node in self.each():
            with open(os.path.join(self.folder, "nodes", node, "busbard.pid"), encoding="ascii") as pid:
                total += cpu_s(int(pid.read()))
        return total

    def settle(self, timeout_s=600):
        good([BUSBAR, "-c", self.client(), "settle", "--timeout", f"{timeout_s}s"], "settle")

    def write(self, words):
        """busbar WORDS; (CPU time of the client, of the servers until the last answer, seconds)."""
        before, begin = self.cpu_s(), time.monotonic()
        with subprocess.Popen([BUSBAR, "-c", self.client(), *words], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            out, err = process.stdout.read(), process.stderr.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - begin
        if process.returncode != 0:
            raise Broken(f"busbar {words[0]}: status {process.returncode}: {err.decode()[-600:]}")
        return usage.ru_utime + usage.ru_stime, self.cpu_s() - before, seconds, out.decode()

    def metrics(self, node):
        """{name with labels: value} of /metrics."""
        with open(os.path.join(self.folder, "nodes", node, "busbard.yaml"), encoding="utf-8") as file:
            text = file.read()
        host, port = re.search(rf'^  - id: {re.escape(node)}$.*?host: "(\S+)"$.*?http_port: (\d+)', text, re.M | re.S).groups()
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[:1] not in ("", "#"))}

    def metric(self, node, name):
        """Sum over the node's stores of one number of /metrics; 0 when there is none of that name."""
        return sum(value for full, value in self.metrics(node).items() if re.match(rf"{name}({{|$)", full))

    def total(self, pattern):
        """Sum over all nodes of what matches."""
        return sum(value for node in self.each() for full, value in self.metrics(node).items()
                   if re.fullmatch(pattern, full))

    def end(self, node):
        """Lets one node end and waits for it."""
        with open(os.path.join(self.folder, "nodes", node, "busbard.pid"), encoding="ascii") as file:
            pid = int(file.read())
        good([BUSBAR, "cluster", "kill", self.folder, node, "--signal", "TERM"], "cluster kill")
        deadline = time.monotonic() + 30
        while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
            time.sleep(0.05)

    def start(self, node):
        good([BUSBAR, "cluster", "restart", self.folder, node], "cluster restart")

    def disk(self):
        """(bytes that hold data, bytes of empty journal files kept for the next ones), all nodes; once
        they stand still, because /metrics is a second old and files go in the background."""
        before, now = None, self._disk()
        while now != before:
            time.sleep(1.5)
            before, now = now, self._disk()
        return now

    def _disk(self):
        total = sum(bytes_below(os.path.join(self.folder, "nodes", node, "data")) for node in self.each())
        spare = sum(self.metric(node, "busbar_journal_spare_bytes") for node in self.each())
        return max(total - spare, 0), spare
