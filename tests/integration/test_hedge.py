#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Nodes stand still now and then: a client that hedges small reads waits for none of them, answers stay right, and at
most one read in twenty is asked twice. Prints what both kinds of client see."""
import contextlib
import json
import os
import random
import signal
import subprocess
import threading

from cluster import BIN, Cluster, case, expect, finish
from test_metrics import get, total

SECONDS = 9
PAUSE_S, EVERY_S = 0.3, 2.5


class Pauses:
    """Stops one node after the other for a while, so that none of them is slow for longer than the others."""

    def __init__(self, group):
        self.pids = [group.pid(node) for node in group.nodes()]
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        chance = random.Random(4)
        while not self.over.wait(EVERY_S - PAUSE_S + chance.uniform(-0.2, 0.2)):
            pid = self.pids.pop(0)
            self.pids.append(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self.over.wait(PAUSE_S)
                os.kill(pid, signal.SIGCONT)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(10)


def main():
    bench = os.path.join(BIN, "busbar-bench")
    with Cluster("--nodes", "3", "--partitions", "64") as group:
        with Pauses(group):
            done = subprocess.run([bench, "small", group.client(), str(SECONDS)], capture_output=True, text=True,
                                  timeout=60, check=False)
        found = {record["name"]: record for record in map(json.loads, done.stdout.splitlines())}
        for name, record in found.items():
            print(f"# {name} {record['value']} {record['unit']} {record.get('note', '')}", flush=True)
        with case("every answer is right, whichever node it came from"):
            expect(done.returncode == 0 and found["small_reads_wrong"]["value"] == 0, f"{done.returncode} {done.stderr}")
        words = found["small_read_hedged_p99_ms"]["note"].split()
        reads, hedges, won = int(words[0]), int(words[2]), int(words[5])
        with case("at most one read in twenty is asked twice, and some of them were answered by the second node"):
            expect(0 < hedges <= reads / 20 and won > 0, f"{words}")
            asked = sum(total(get(group, node, "/metrics")[2], "busbar_hedges_total") for node in group.nodes())
            expect(0 < asked <= hedges, f"{hedges} were sent, {asked} counted")
            expect(" 0 asked twice" in found["small_read_plain_p99_ms"]["note"], found["small_read_plain_p99_ms"]["note"])
        with case("the slowest hundredth of reads takes less than three quarters of the time with hedges"):
            plain, hedged = (found[f"small_read_{kind}_p99_ms"]["value"] for kind in ("plain", "hedged"))
            expect(plain > 50, f"pauses of {PAUSE_S} s do not show: {plain} ms")
            expect(hedged < 0.75 * plain, f"{hedged} ms with hedges, {plain} ms without")
    finish()


if __name__ == "__main__":
    main()
