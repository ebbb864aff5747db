#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Nodes with one, two and three stores make one cluster: what travels between them goes by partition, so a
replica that dies under load catches up, reads at a quorum are complete, and every replica holds everything."""
import re

from cluster import Cluster, case, expect, finish
from test_failover import Load, alone, expect_all

BATTERIES, SECONDS, METRICS = 60, 240, 16
TOTAL = BATTERIES * SECONDS * METRICS
STORES = {"n1": 1, "n2": 2, "n3": 3}


def set_stores(group):
    for node, count in STORES.items():
        path = group.path(node, "busbard.yaml")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        changed, times = re.subn(r"^  stores: 1\b", f"  stores: {count}", text, flags=re.M)
        expect(times == 1, f"{path} has no line `stores: 1`")
        with open(path, "w", encoding="utf-8") as file:
            file.write(changed)


def all_replicas_alone(group, total):
    for node in group.nodes():
        found = group.count(*alone(node))
        expect(found == total, f"{node} has {found} of {total} points")


def main():
    with Cluster("--partitions", "128", start=False) as group:
        set_stores(group)
        with case("nodes with one, two and three stores meet and become ready"):
            group.up()
            log = "".join(group.log(node) for node in group.nodes())
            expect("peer message refused" not in log, log[-600:])
        for victim, seed in (("n1", 1), ("n3", 2)):
            with case(f"{victim} ({STORES[victim]} stores) killed under load: every point is acknowledged"), \
                    Load(group, seed, batteries=BATTERIES, seconds=SECONDS,
                         start=f"2026-01-0{seed}T00:00:00Z") as load:
                load.wait_for(TOTAL // 10)
                group.kill(victim)
                load.wait_for(TOTAL // 2)
                group.restart(victim)
                expect_all(load, TOTAL)
            with case(f"after its return every replica alone has every point, at once and when settled ({victim})"):
                group.wait_in_step()
                all_replicas_alone(group, seed * TOTAL)
                group.good("settle")
                all_replicas_alone(group, seed * TOTAL)
        with case("a read at local_quorum of all batteries is complete at every coordinator"):
            expect(group.count() == 2 * TOTAL, "points are missing")
        with case("every replica alone answers with the same rows in the same order"):
            one = group.json("query", "--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T00:02:00Z",
                             "--metric", "power_kw", *alone("n1"))
            for node in ("n2", "n3"):
                other = group.json("query", "--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T00:02:00Z",
                                   "--metric", "power_kw", *alone(node))
                expect(other["rows"] == one["rows"] and len(one["rows"]) == BATTERIES * 120,
                       f"{node} answers {len(other['rows'])} rows, n1 {len(one['rows'])}")
    finish()


if __name__ == "__main__":
    main()
