#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A node that gets a twentieth of a processor: within 10 s it coordinates nothing any more and passes nothing on, it
keeps its replicas, nothing fails, and it has its turn again when it is well."""
import contextlib
import os
import signal
import threading
import time

from cluster import Cluster, case, expect, finish
from test_failover import Load
from test_metrics import get, samples, total

VICTIM = "n2"
BATTERIES, SECONDS, METRICS = 60, 1400, 16


class Starved:
    """Stops the process for 95 of every 100 ms."""

    def __init__(self, pid):
        self.pid, self.over = pid, threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        with contextlib.suppress(ProcessLookupError):
            while not self.over.is_set():
                os.kill(self.pid, signal.SIGSTOP)
                time.sleep(0.095)
                os.kill(self.pid, signal.SIGCONT)
                time.sleep(0.005)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(10)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)


def slow(group, by="n1"):
    found = samples(get(group, by, "/metrics")[2])
    return found[f'busbar_node_slow{{node="{VICTIM}"}}'] == 1


def accepted(group, node):
    return total(get(group, node, "/metrics")[2], "busbar_points_accepted_total")


def demoted(group, load):
    with case("a node with 5 % of a processor is found slow by the others within 10 s"):
        begin = time.monotonic()
        group.wait("the verdict", lambda: slow(group, "n1") and slow(group, "n3"), 10)
        print(f"# slow after {time.monotonic() - begin:.1f} s", flush=True)
    with case("then clients coordinate elsewhere: it takes hardly anything, and nothing fails"):
        time.sleep(4)  # clients are told once in a while
        before = {node: accepted(group, node) for node in group.nodes()}
        load.wait_for(load.acked + BATTERIES * METRICS * 100)
        taken = {node: accepted(group, node) - before[node] for node in before}
        share = taken[VICTIM] / sum(taken.values())
        print(f"# {100 * share:.1f} % of the points went to {VICTIM}", flush=True)
        expect(share < 0.1, f"{VICTIM} still takes {share:.2f} of the points")
        expect(load.process.poll() is None, f"the load has ended: {load.lines[-3:]}")


def main():
    with Cluster("--nodes", "3", "--partitions", "64") as group:
        with Load(group, 1, speed="50", batteries=BATTERIES, seconds=SECONDS, timeout="20s") as load:
            load.wait_for(BATTERIES * METRICS * 100)
            with Starved(group.pid(VICTIM)):
                demoted(group, load)
            with case("when it is well it has its turn again; at most two changes of mind in all"):
                group.wait("its return", lambda: not slow(group, "n1") and not slow(group, "n3"), 20)
                for by in ("n1", "n3"):
                    told = group.log(by).count(f'"node is slow, asked last" node={VICTIM}')
                    expect(told == 1, f"{by} found it slow {told} times")
            with case("it has kept its replicas: every point is acknowledged, and it has them all"):
                status, summary = load.finish()
                wanted = BATTERIES * SECONDS * METRICS
                expect(status == 0 and summary["acked_points"] == wanted, f"{status} {summary}")
                group.wait_in_step()
                found = group.count("--consistency", "one", "--node", VICTIM, "--timeout", "30s")
                expect(found == wanted, f"{VICTIM} has {found} of {wanted} points")
    finish()


if __name__ == "__main__":
    main()
