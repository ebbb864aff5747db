#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What no journal has any more comes out of the segments of the others: a disk that was lost, and a
segment that was damaged (faults 9 and 25). Prints how fast."""
import glob
import json
import os
import shutil
import time

import cluster
from cluster import EVER, PATIENCE_S, Cluster, case, expect, run
from machine import Machine, promised
from test_damage import PAGE, mislead
from test_metrics import get, total

DAYS = ("2026-01-01", "2026-01-02")
BATTERIES = 200


def metric(group, node, name):
    return total(get(group, node, "/metrics")[2], name)


def alone(group, node):
    """(exit status, points) of one node, without the others."""
    done = group.cli("query", *EVER, "--agg", "count", "--group-by", "none", "-o", "json", "--consistency", "one",
                     "--node", node)
    answer = json.loads(done.stdout) if done.stdout.strip() else {"rows": []}
    column = answer["columns"].index("count") if answer["rows"] else 0
    return done.returncode, sum(row[column] for row in answer["rows"])


def fill(group):
    for day in DAYS:
        group.good("simulate", "--batteries", str(BATTERIES), "--duration", "30m", "--start", f"{day}T06:00:00Z")
    group.good("settle")
    for node in group.nodes():
        expect(metric(group, node, "busbar_untrimmed_chunks") == 0, f"{node}: journals still have chunks")
    return alone(group, "n1")[1]


def lost_disk(group, points):
    with case("an empty disk: every point is back out of segments, and the node counts again"):
        group.kill("n3")
        size = sum(os.path.getsize(p) for p in glob.glob(group.path("n3", "data/store-*/windows/*/*/data.mdb")))
        shutil.rmtree(group.path("n3", "data"))
        os.mkdir(group.path("n3", "data"), 0o700)
        begin = time.monotonic()
        run("cluster", "restart", group.dir, "n3", "--timeout", "100ms", timeout_s=60)
        group.wait("n3 counts", lambda: get(group, "n3", "/readyz")[0] == 200)
        took = time.monotonic() - begin
        fetched = metric(group, "n3", "busbar_sync_bytes_total")
        print(f"# {points} points, {size / 1e6:.1f} MB of segments: counted again after {took:.1f} s; "
              f"{fetched / 1e6:.1f} MB fetched, {fetched / 1e6 / took:.1f} MB/s")
        expect(fetched > 0, "nothing came by segment sync")
        expect(alone(group, "n3") == (0, points), f"{alone(group, 'n3')} at n3 alone, {points} were acknowledged")
        group.wait_in_step()


def damaged_segment(group, points):
    with case("a damaged segment is fetched again within 60 s, and nothing is named as damaged any more"):
        group.kill("n2")
        path = sorted(glob.glob(group.path("n2", f"data/store-*/windows/*/{DAYS[0]}.*/data.mdb")))[0]
        mislead(path)
        expect(os.path.getsize(path) > 3 * PAGE, "the segment is too small to tell")
        group.restart("n2")
        group.cli("scrub")
        with Machine(group.folder) as machine:
            begin = time.monotonic()
            group.wait("the segment is replaced", lambda: metric(group, "n2", "busbar_sync_repaired_total") >= 1,
                       4 * PATIENCE_S)
            promised(machine, "repaired", 60, time.monotonic() - begin)
        print(f"# {metric(group, 'n2', 'busbar_sync_bytes_total') / 1e6:.1f} MB fetched")
        group.wait("every point at n2 alone", lambda: alone(group, "n2") == (0, points))
        expect(not os.path.exists(os.path.dirname(path)), "the damaged folder is still there")


def main():
    with Cluster("--nodes", "3", "--partitions", "64", name="rebuild") as group:
        points = fill(group)
        lost_disk(group, points)
        damaged_segment(group, points)
    cluster.finish()


if __name__ == "__main__":
    main()
