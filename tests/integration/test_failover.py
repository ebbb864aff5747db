#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Nodes die, pause and come back under load: what was acknowledged stays readable on every replica,
what cannot be promised fails explicitly, and a stop drains."""
import json
import os
import re
import signal
import subprocess
import threading
import time

import cluster
from cluster import BUSBAR, BUSBARD, EVER, PATIENCE_S, Cluster, case, expect

BATTERIES, SECONDS, METRICS = 100, 480, 16
TOTAL = BATTERIES * SECONDS * METRICS


class Load:
    """The fleet simulator writing into the cluster; `acked` grows while it runs."""

    def __init__(self, group, seed, speed="40", batteries=BATTERIES, seconds=SECONDS, timeout="30s",
                 start="2026-01-01T00:00:00Z", level=None):
        self.acked = 0
        self.lines = []
        self.process = subprocess.Popen(
            [BUSBAR, "simulate", "-c", group.client(), "--batteries", str(batteries), "--interval", "1s",
             "--duration", f"{seconds}s", "--start", start, "--seed", str(seed), "--speed", speed, "--timeout", timeout,
             "-o", "json", *(["--consistency", level] if level else [])], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            found = re.search(r"acknowledged (\d+) points", line)
            if found:
                self.acked = int(found.group(1))

    def wait_for(self, points, timeout_s=3 * PATIENCE_S):
        limit = time.monotonic() + timeout_s
        while self.acked < points and self.process.poll() is None:
            expect(time.monotonic() < limit, f"{points} points were not acknowledged in {timeout_s} s")
            time.sleep(0.05)

    def finish(self, timeout_s=4 * PATIENCE_S):
        """(exit status, summary)"""
        try:
            self.process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join(timeout=10)
        out = self.process.stdout.read()
        return self.process.returncode, json.loads(out) if out.strip() else {}

    def end(self):
        """Ends it before its time; nothing that was sent has failed. Returns the points, all of them acknowledged."""
        self.process.terminate()
        status, summary = self.finish()
        expect(status == 0 and summary["acked_points"] == summary["points"] > 0, f"{status} {summary} {self.lines[-3:]}")
        return summary["points"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def alone(node):
    return ["--consistency", "one", "--node", node]


def expect_all(load, total):
    status, summary = load.finish()
    expect(status == 0, f"the load ended with {status}: {load.lines[-3:]}")
    expect(summary["acked_points"] == total, f"{summary}, expected {total} points")
    expect(summary["unknown_points"] == 0 and summary["rejected_points"] == 0, f"{summary}")


def killed_under_load(group):
    with case("a node killed by SIGKILL under load: every point is acknowledged"), Load(group, 1) as load:
        load.wait_for(TOTAL // 10)
        group.kill("n2")
        expect(group.pid("n2") == 0, "n2 still runs")
        at_kill = load.acked
        expect(group.count() >= at_kill, "acknowledged points are not readable")
        load.wait_for(TOTAL // 2)
        group.restart("n2")
        expect_all(load, TOTAL)
    with case("after its return every replica alone has every acknowledged point, lag 0"):
        group.wait_in_step()
        for node in group.nodes():
            found = group.count(*alone(node))
            expect(found == TOTAL, f"{node} has {found} of {TOTAL} points")


def paused_under_load(group):
    with case("a node paused by SIGSTOP under load: nothing fails, it catches up after SIGCONT"), \
            Load(group, 2, batteries=50, seconds=240) as load:
        total = 50 * 240 * METRICS
        load.wait_for(total // 10)
        group.kill("n3", "STOP")
        try:
            load.wait_for(total // 2)
        finally:
            group.kill("n3", "CONT")
        expect_all(load, total)
        group.wait_in_step()
        counts = {node: group.count(*alone(node)) for node in group.nodes()}
        expect(len(set(counts.values())) == 1, f"replicas differ: {counts}")


def two_down(group):
    line = 'pack,battery=lonely voltage_v={},state="Idle" 1700000000{:09d}\n'
    group.kill("n1")
    group.kill("n3")
    with case("two of three down: a write at local_quorum fails explicitly with status 4"):
        summary, done = group.write(line.format(1, 1), "--timeout", "3s", timeout_s=60)
        expect(done.returncode == 4, f"status {done.returncode}: {done.stderr}")
        expect(summary.get("acked_points") == 0, f"{summary}")
        expect(summary["unknown_points"] + summary["rejected_points"] == 2, f"{summary}")
        expect(done.stderr.strip(), "no word on standard error")
    with case("two of three down: a query at local_quorum is never silently complete"):
        done = group.cli("query", *EVER, "--battery", "lonely", "--timeout", "3s", "-o", "json", timeout_s=60)
        expect(done.returncode in (3, 4), f"status {done.returncode}: {done.stdout[:300]}")
        expect(done.stderr.strip(), "no word on standard error")
        if done.stdout:
            answer = json.loads(done.stdout)
            expect(not answer["complete"] and answer["missing_partitions"], f"{answer}")
    with case("two of three down: --consistency one writes and reads"):
        summary, done = group.write(line.format(2, 2), "--consistency", "one")
        expect(done.returncode == 0 and summary["acked_points"] == 2, f"{summary} {done.stderr}")
        rows = group.json("query", *EVER, "--battery", "lonely", "--metric", "voltage_v",
                          "--consistency", "one")["rows"]
        expect(["lonely", "voltage_v", "2023-11-14T22:13:20.000000002Z", 2] in rows, f"{rows}")
    with case("status tells who is down"):
        nodes = {n["id"]: n["up"] for n in group.status()["nodes"]}
        expect(nodes == {"n1": False, "n2": True, "n3": False}, f"{nodes}")
    group.restart("n1")
    group.restart("n3")
    with case("what one replica acknowledged reaches the others when they return"):
        group.wait_in_step()
        for node in group.nodes():
            rows = group.json("query", *EVER, "--battery", "lonely", "--metric", "voltage_v",
                              *alone(node))["rows"]
            expect(["lonely", "voltage_v", "2023-11-14T22:13:20.000000002Z", 2] in rows, f"{node}: {rows}")


def all_killed(group):
    with case("all nodes killed by SIGKILL at once under load: no acknowledged point is lost"):
        month = ["--from", "2026-02-01T00:00:00Z", "--to", "2026-03-01T00:00:00Z"]
        with Load(group, 3, batteries=50, seconds=2400, timeout="3s", start="2026-02-01T00:00:00Z") as load:
            load.wait_for(50 * 60 * METRICS)
            for node in group.nodes():
                group.kill(node)
            acked = load.acked
            load.process.kill()
            load.process.wait()
        group.up()
        group.wait_in_step()
        found = group.count(*month)
        expect(acked > 0 and found >= acked, f"{found} points, acknowledged {acked}")
        counts = {node: group.count(*month, *alone(node)) for node in group.nodes()}
        expect(set(counts.values()) == {found}, f"replicas differ: {counts}, all together {found}")


def drained(group):
    with case("SIGTERM under load drains: exit status 0, nothing unknown"):
        group.kill("n2", "TERM")
        group.wait("n2 has ended", lambda: group.pid("n2") == 0)
        with open(os.devnull, "wb") as null, \
                subprocess.Popen([BUSBARD, "--config", group.path("n2", "busbard.yaml")],
                                 stdin=null, stdout=null, stderr=null) as node:
            try:
                group.wait_in_step()
                with Load(group, 4, batteries=50, seconds=240) as load:
                    total = 50 * 240 * METRICS
                    load.wait_for(total // 5)
                    node.send_signal(signal.SIGTERM)
                    code = node.wait(timeout=PATIENCE_S)
                    expect_all(load, total)
                expect(code == 0, f"the node ended with {code}")
            finally:
                if node.poll() is None:
                    node.kill()
        group.restart("n2")
        group.wait_in_step()


def read_after_write(group):
    """One node after the other dies and returns while a writer reads back what it just wrote."""
    with case("with one node down at any time no operation fails, and a read sees every write before it"):
        stop, trouble, returned = threading.Event(), [], []

        def disturb():
            try:
                for turn in range(100):
                    node = f"n{turn % 3 + 1}"
                    group.kill(node)
                    if stop.wait(0.7):
                        group.restart(node)
                        return
                    group.restart(node)
                    group.wait(f"{node} in step", group.is_caught_up)
                    returned.append(node)
                    if stop.wait(0.3):
                        return
            except Exception as error:  # told by the case
                trouble.append(error)
        helper = threading.Thread(target=disturb)
        helper.start()
        try:
            limit = time.monotonic() + 4 * PATIENCE_S
            written = 0
            while (written <= 20 or len(returned) < 4) and time.monotonic() < limit and not trouble:
                summary, done = group.write(f"p,battery=echo v={written} {1_600_000_000 * 10**9 + written}\n")
                expect(done.returncode == 0 and summary["acked_points"] == 1, f"write {written}: {done.stderr} {summary}")
                written += 1
                found = group.count("--battery", "echo")
                expect(found == written, f"after {written} acknowledged writes a read sees {found}")
        finally:
            stop.set()
            helper.join()
        expect(not trouble, f"{trouble}")
        expect(written > 20 and len(returned) >= 4, f"only {written} writes, and {returned} have died and returned")
        group.wait_in_step()


def damaged(group):
    """Bytes of journals change while the nodes are down."""
    with case("a torn tail and damage in the middle of a journal are reported, and repaired from the others"):
        group.write("".join(f"p,battery=d{i % 50} v={i} {1_500_000_000 * 10**9 + i}\n" for i in range(20000)))
        group.wait_in_step()
        before = {node: group.count(*alone(node)) for node in group.nodes()}
        for node in group.nodes():
            group.kill(node)

        def newest(node):
            """The newest journal file of the node and where its records end: files are written again, so old
            bytes may follow."""
            folder = group.path(node, "data/store-00/journal")
            path = os.path.join(folder, sorted(name for name in os.listdir(folder) if name.endswith(".journal"))[-1])
            said = json.loads(subprocess.run([os.path.join(cluster.BIN, "busbar"), "inspect", "journal", path, "--json"],
                                             capture_output=True, text=True, check=True).stdout)["journal"]
            return path, said["end_bytes"], said["file_bytes"]
        path, end, size = newest("n2")
        is_told_apart = end == size
        with open(path, "r+b") as file:
            file.seek(end)
            file.write(b"\x13\x37" * 50)
        hurt, end, _ = newest("n3")
        with open(hurt, "r+b") as file:
            file.seek(end // 2)
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 0xFF]))
        group.up()
        group.wait_in_step()
        if is_told_apart:
            expect("torn_bytes=100 " in group.log("n2"), "n2 does not tell of its torn tail")
        told = [line for line in group.log("n3").splitlines() if "journal damaged" in line]
        expect(told and "level=error" in told[-1] and os.path.basename(hurt) in told[-1] and "offset" in told[-1],
               f"n3 does not tell of its damage: {told}")
        after = {node: group.count(*alone(node)) for node in group.nodes()}
        expect(after == before, f"{after}, before {before}")


def restarted(group):
    with case("a stop and start of the whole cluster keeps everything"):
        before = group.good("query", *EVER, "--agg", "count,min,max,sum", "-o", "csv")
        means = group.good("query", *EVER, "--agg", "count,min,max,sum,mean", "-o", "csv")
        group.down()
        for node in group.nodes():
            expect(group.pid(node) == 0, f"{node} still runs")
        group.up()
        after = group.good("query", *EVER, "--agg", "count,min,max,sum", "-o", "csv")
        expect(after == before, "answers differ from those before the stop")
    with case("settle leaves nothing unsealed or untrimmed, and changes no answer"):
        group.good("settle")
        group.wait("status shows it, too", lambda: all(
            (n["unsealed_chunks"], n["untrimmed_chunks"]) == (0, 0) for n in group.status()["nodes"]))
        after = group.good("query", *EVER, "--agg", "count,min,max,sum", "-o", "csv")
        expect(after == before, "answers differ from those before settling")
    with case("settled, no node tells dead processes apart any more, however many there were"):
        group.wait("no dead streams", lambda: all(
            n["streams"] <= 3 and n["streams_dead"] == 0 for n in group.status()["nodes"]))
    with case("each replica alone gives the same text"):
        for node in group.nodes():
            after = group.good("query", *EVER, "--agg", "count,min,max,sum,mean", *alone(node), "-o", "csv")
            expect(after == means, f"{node} answers differently")
    with case("settled data survive a SIGKILL of every node"):
        for node in group.nodes():
            group.kill(node)
        group.up()
        after = group.good("query", *EVER, "--agg", "count,min,max,sum", "-o", "csv")
        expect(after == before, "answers differ from those before")


def main():
    with Cluster("--nodes", "3") as group:
        killed_under_load(group)
        paused_under_load(group)
        two_down(group)
        all_killed(group)
        drained(group)
        read_after_write(group)
        damaged(group)
        restarted(group)
    cluster.finish()


if __name__ == "__main__":
    main()
