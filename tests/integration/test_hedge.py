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
from machine import Machine
from test_metrics import get, total

SECONDS = 9
PAUSE_S, EVERY_S = 0.3, 2.5
ROUNDS = 5  # the one in which hedges show is the last


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


def asked_twice(group):
    return sum(total(get(group, node, "/metrics")[2], "busbar_hedges_total") for node in group.nodes())


def measure(group):
    """One run: what must hold in each is checked. Returns why hedges did not show in it, or None, and whether everything
    was held up, for more than half of the slowest hundredth: then hedges cannot show."""
    before = asked_twice(group)
    with Pauses(group), Machine(group.folder) as machine:
        done = subprocess.run([os.path.join(BIN, "busbar-bench"), "small", group.client(), str(SECONDS)],
                              capture_output=True, text=True, timeout=240, check=False)
    found = {record["name"]: record for record in map(json.loads, done.stdout.splitlines())}
    for name, record in found.items():
        print(f"# {name} {record['value']} {record['unit']} {record.get('note', '')}", flush=True)
    expect(done.returncode == 0 and found["small_reads_wrong"]["value"] == 0, f"{done.returncode} {done.stderr}")
    words = found["small_read_hedged_p99_ms"]["note"].split()
    reads, hedges, won = int(words[0]), int(words[2]), int(words[5])
    expect(hedges <= reads / 20, f"{words}")
    asked = asked_twice(group) - before
    expect(asked <= hedges, f"{hedges} were sent, {asked} counted")
    expect(" 0 asked twice" in found["small_read_plain_p99_ms"]["note"], found["small_read_plain_p99_ms"]["note"])
    if won == 0 or asked == 0:
        return f"{hedges} hedges, {asked} counted by nodes, {won} of them answered first", False
    plain, hedged = (found[f"small_read_{kind}_p99_ms"]["value"] for kind in ("plain", "hedged"))
    if plain <= 50:
        return f"pauses of {PAUSE_S} s do not show: {plain} ms", False
    is_held_up = machine.stalled()[1] > 0.005 * SECONDS
    return None if hedged < 0.75 * plain else f"{hedged} ms with hedges, {plain} ms without; {machine.tell()}", is_held_up


def main():
    with Cluster("--nodes", "3", "--partitions", "64") as group:
        why, held_up = "not measured", []
        with case("every answer is right, whichever node it came from, and at most one read in twenty is asked twice"):
            for _ in range(ROUNDS):
                why, is_held_up = measure(group)
                if not why:
                    break
                held_up.append(is_held_up)
                print(f"# once more: {why}", flush=True)
        with case("second nodes answer first, and the slowest hundredth takes less than three quarters of the time"):
            expect(not why or all(held_up), f"in {ROUNDS} runs; in the last one {why}")
    finish()


if __name__ == "__main__":
    main()
