#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two data centres of three nodes. What goes between them goes through forwarders at addresses of their own, which
count it and can be cut: both sides go on at local_quorum, what needs the other side is refused by its name, what was
missed arrives after healing, and what each_quorum acknowledged survives the loss of a whole data centre."""
import contextlib
import json
import os
import re
import threading
import time

from cluster import PATIENCE_S, Cluster, case, expect, finish
from machine import Machine, promised
from forwarder import Forwarder
from test_failover import Load
from test_metrics import get, total

NEAR, FAR = ["n1", "n2", "n3"], ["n4", "n5", "n6"]
BATTERIES, METRICS = 40, 16
LINE = "pack,battery={} kept_v={} 1767225600{:09d}\n"


class Link(Forwarder):
    """Counts. While it is cut nothing passes, in either direction, and nothing is closed: the way a cable is cut."""

    def __init__(self, targets):
        self.bytes = {}  # (node, what): bytes towards the node
        self.whole = threading.Event()
        self.whole.set()
        super().__init__(targets)

    def may_open(self):
        self.whole.wait()

    def pass_on(self, sink, data, key):
        self.whole.wait()
        sink.sendall(data)
        if key:
            self.bytes[key] = self.bytes.get(key, 0) + len(data)


def prepare(group):
    """Gives each side the other's nodes at the forwarders' addresses, and a client file of its own."""
    targets = []
    for node in NEAR + FAR:
        path = group.path(node, "busbard.yaml")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        entries = re.findall(r'- id: (n\d)\n    dc: "(dc\d)"\n    host: "(127.0.0.(\d))"\n    client_port: (\d+)\n'
                             r'    peer_port: (\d+)\n    bulk_port: (\d+)', text)
        expect(len(entries) == 6, f"{path} has {len(entries)} nodes")
        for name, _, host, number, *ports in entries:
            if (name in NEAR) != (node in NEAR):
                text = text.replace(f'host: "{host}"', f'host: "127.1.0.{number}"')
            if node == "n1":
                what = ("client", "peer", "bulk")
                targets += [(number, int(p), (name, w)) for p, w in zip(ports, what)]
        text = text.replace("  replicas:\n", "  default_write_level: each_quorum\n  replicas:\n", 1)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    with open(group.client(), encoding="utf-8") as file:
        head, *nodes = file.read().split("  - id: ")
    for dc, names in (("dc1", NEAR), ("dc2", FAR)):
        with open(group.client(dc), "w", encoding="utf-8") as file:
            file.write(head.replace('dc: "dc1"', f'dc: "{dc}"'))
            file.write("".join("  - id: " + text for text in nodes if text[:2] in names))
        os.chmod(group.client(dc), 0o600)
    return targets


class Side:
    """The cluster as the clients of one data centre see it; what Load wants of a cluster."""

    def __init__(self, group, dc):
        self.group, self.dc = group, dc

    def client(self):
        return self.group.client(self.dc)


def load(group, dc, seed, seconds):
    return Load(Side(group, dc), seed, speed="max", batteries=BATTERIES, seconds=seconds, timeout=f"{PATIENCE_S}s",
                start=f"2026-01-0{seed}T00:00:00Z", level="local_quorum")


def metric(group, nodes, name):
    return sum(total(get(group, node, "/metrics")[2], name) for node in nodes)


def in_step(group, nodes, points):
    """Every node alone has all points."""
    for node in nodes:
        dc = "dc1" if node in NEAR else "dc2"
        found = group.count("--consistency", "one", "--node", node, role=dc)
        if found != points:
            return False
    return True


def healthy(group, link):
    points = BATTERIES * METRICS * 600
    with case("healthy: a batch crosses once; bytes on the wire to the other side are 1.1 times what is written"):
        link.bytes.clear()
        before = metric(group, ["n1"], "busbar_journal_sync_bytes_total")
        with load(group, "dc1", 1, 600) as writing:
            expect(writing.finish()[1]["acked_points"] == points, f"{writing.lines[-2:]}")
        group.wait("both sides in step", lambda: in_step(group, NEAR + FAR, points))
        # Metrics are of when a store published them last, which is up to a second ago.
        group.wait("n1's metrics tell of all points", lambda: sum(
            metric(group, ["n1"], f"busbar_{where}_points") for where in ("head", "segment")) >= points)
        payload = metric(group, ["n1"], "busbar_journal_sync_bytes_total") - before
        crossed = sum(count for (node, what), count in link.bytes.items() if node in FAR and what == "bulk")
        print(f"# {crossed} bytes crossed for {payload:.0f} journaled: {crossed / payload:.3f}", flush=True)
        # Relays that were silent, as on a slow machine, have a budget: 64 KiB and a tenth.
        again = 65536 + payload / 10 if metric(group, NEAR, "busbar_relays_passed_by_total") else 0
        expect(0.9 * payload < crossed < 1.1 * payload + again, f"{crossed} bytes crossed, {payload} were written")
        expect(metric(group, FAR, "busbar_batches_forwarded_total") > 0, "nothing was sent on")
    return points


def latency(group, nodes):
    return (metric(group, nodes, "busbar_ack_latency_seconds_sum"),
            metric(group, nodes, "busbar_ack_latency_seconds_count"))


def cut_off(group, link, points):
    before = latency(group, NEAR)
    with load(group, "dc1", 2, 300) as writing:
        expect(writing.finish()[0] == 0, f"the load before the cut failed: {writing.lines[-3:]}")
    points += 300 * BATTERIES * METRICS
    between = latency(group, NEAR)
    link.whole.clear()
    cut = time.monotonic()
    with case("cut off: both sides go on at local_quorum, not one write fails, from the first moment on"), \
            Machine(group.folder) as machine:
        loads = [load(group, "dc1", 3, 1000), load(group, "dc2", 4, 1000)]
        ends = [writing.finish() for writing in loads]
        wanted = 1000 * BATTERIES * METRICS
        for status, summary in ends:
            expect(status == 0 and summary["acked_points"] == wanted, f"{status} {summary}")
        points += 2 * wanted
        after = latency(group, NEAR)
        usual = (between[0] - before[0]) / (between[1] - before[1])
        now = (after[0] - between[0]) / (after[1] - between[1])
        print(f"# mean acknowledgement {1e3 * usual:.1f} ms before, {1e3 * now:.1f} ms in the cut", flush=True)
        # Who waits for the other side waits for seconds. There are two loads now, and the machine may do more.
        allowed = (2 * usual + 0.05) * machine.factor() + machine.stalled()[1]
        expect(now < allowed, f"acknowledged after {now} s, before the cut after {usual} s: {machine.tell()}")
        for dc, seed in (("dc1", 3), ("dc2", 4)):
            expect(group.count("--from", f"2026-01-0{seed}T00:00:00Z", "--to", f"2026-01-0{seed + 1}T00:00:00Z",
                               role=dc) == wanted, f"{dc} does not read what it wrote")
    with case("cut off: each_quorum, quorum and all are refused, naming the data centre and what it lacks"):
        group.wait("the cut is noticed", lambda: group.json("status", role="dc1")["under_replicated"] > 0)
        for words in ([], ["--consistency", "each_quorum"], ["--consistency", "quorum"], ["--consistency", "all"]):
            named = "3 of 4 in all" if "quorum" in words else "dc2 has 0 of the"
            with Machine(group.folder) as machine:
                done = group.refused(named, "write", *words, "-o", "json", role="dc1", stdin=LINE.format("refused", 1, 1))
                expect(json.loads(done.stdout)["acked_points"] == 0, f"{words}: {done.stdout}")
                promised(machine, "refused, past its deadline,", 4, done.late_s)
    with case("cut off: status and metrics say how far the other side is behind, in chunks and seconds"):
        status = group.json("status", role="dc1")
        far = [dc for dc in status["data_centres"] if dc["name"] == "dc2"][0]
        expect(far["lag_chunks"] > 0 and 0.3 < far["lag_s"] < time.monotonic() - cut + 1, f"{far}")
        group.wait("a lag in the metrics", lambda: metric(group, ["n1"], "busbar_dc_lag_seconds") > 0.3)
        expect(status["default_write_level"] == "each_quorum", f"{status['default_write_level']}")
    return points


def heals(group, link, points):
    link.whole.set()
    with case("healed: every node has everything within 30 s, and nobody is behind"):
        with Machine(group.folder) as machine:
            begin = time.monotonic()
            group.wait("all six in step", lambda: in_step(group, NEAR + FAR, points), 4 * PATIENCE_S)
            promised(machine, "equal", 30, time.monotonic() - begin)
        group.wait("no lag", lambda: all(dc["lag_chunks"] == 0 for dc in
                                         group.json("status", role="dc1")["data_centres"]))


def one_is_lost(group):
    with case("each_quorum, here by default: what was acknowledged survives the loss of a whole data centre"):
        text = "".join(LINE.format(f"kept{i}", i, i) for i in range(500))
        summary, done = group.write(text, role="dc1")
        expect(done.returncode == 0 and summary["acked_points"] == 500, f"{done.stderr}")
        for node in NEAR:
            group.kill(node)
        found = group.count("--metric", "kept_v", role="dc2")
        expect(found == 500, f"{found} of 500 points are left")
        summary, done = group.write(LINE.format("after", 1, 7), "--consistency", "local_quorum", role="dc2")
        expect(done.returncode == 0 and summary["acked_points"] == 1, f"{done.stderr}")


def main():
    with Cluster("--dcs", "dc1:3,dc2:3", "--partitions", "64", start=False) as group:
        with contextlib.closing(Link(prepare(group))) as link:
            group.up()
            points = healthy(group, link)
            points = cut_off(group, link, points)
            heals(group, link, points)
            one_is_lost(group)
    finish()


if __name__ == "__main__":
    main()
