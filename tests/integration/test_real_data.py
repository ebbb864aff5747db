#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The main job on real data: three data sets through map files into three nodes, every row
acknowledged, every answer equal to an independent calculation; the same with a node killed by
SIGKILL in the middle, after which every replica alone gives the same answers."""
import csv
import gc
import glob
import io
import json
import os
import subprocess
import threading

import cluster
from cluster import BUSBAR, EVER, MAPS, SHARED, Cluster, case, expect
from oracle import Oracle, buckets, rfc3339_ns, summary

DISCHARGE = ["B0005", "B0006", "B0007", "B0018"]


def imports():
    """(map, files) of everything that is loaded."""
    data = os.path.join(SHARED, "data")
    nasa = os.path.join(data, "nasa-pcoe-battery-aging")
    m5bat = os.path.join(data, "m5bat-grid-battery")
    return [
        ("m5bat-joint.yaml", [os.path.join(m5bat, "system-and-units-1-10-2023-04-07-1s.csv.gz")]),
        ("m5bat-unit10.yaml", [os.path.join(m5bat, "unit10-2023-04-13-1s.csv.gz")]),
        ("nasa-discharge.yaml", [os.path.join(nasa, f"{c}-discharge.csv.gz") for c in DISCHARGE]),
        ("nasa-charge-discharge.yaml", sorted(glob.glob(os.path.join(nasa, "*-charge-discharge.csv.gz")))),
        ("london.yaml", [os.path.join(data, "london-lcl-households/lcl-2013-100-households-halfhourly.csv.gz")]),
    ]


def load(group, plans, between=None):
    """Imports everything; returns the added-up summaries. `between(i)` runs while file i loads."""
    total = {}
    for i, (plan, files) in enumerate(plans):
        words = [BUSBAR, "-c", group.client(), "import", *files,
                 "--map", os.path.join(MAPS, plan), "-o", "json"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            helper = threading.Thread(target=between, args=(i,)) if between else None
            if helper:
                helper.start()
            out, err = process.communicate(timeout=600)
            if helper:
                helper.join()
        expect(process.returncode == 0, f"import {plan}: status {process.returncode}: {err.decode()[-800:]}")
        for key, value in json.loads(out).items():
            total[key] = total.get(key, 0) + value
    return total


def whole(group, *words):
    """Text of both questions that are compared: one bucket, and 15-minute means."""
    one = group.good("query", *EVER, "--agg", "count,min,max,sum", "-o", "csv", *words)
    means = group.good("query", *EVER, "--agg", "count,mean", "--every", "15m", "-o", "csv",
                       "--timeout", "200s", *words)
    return one, means


def check_one(oracle_series, text):
    rows = {(r["battery"], r["metric"]): r for r in csv.DictReader(io.StringIO(text))}
    expect(len(rows) == len(oracle_series), f"{len(rows)} series, expected {len(oracle_series)}")
    for battery, metric, points in oracle_series:
        row = rows.get((battery, metric))
        expect(row is not None, f"no answer for {battery} {metric}")
        count, least, most, total = summary(points)
        where = f"{battery} {metric}"
        expect(int(row["count"]) == count, f"{where}: count {row['count']}, expected {count}")
        if total is None:
            expect((row["min"], row["max"]) == (least, most), f"{where}: {row['min']}..{row['max']}")
            continue
        for name, value in (("min", least), ("max", most)):
            expect(float(row[name]).hex() == value.hex(), f"{where}: {name} {row[name]}, expected {value!r}")
        expect(float(row["sum"]) == total, f"{where}: sum {row['sum']}, expected {total!r}")


def check_means(oracle_series, text):
    wanted = {(b, m): buckets(points) for b, m, points in oracle_series}
    seen = 0
    time_of = {}
    for battery, metric, start, count, mean in csv.reader(io.StringIO(text)):
        if battery == "battery" or mean == "":
            continue
        if start not in time_of:
            time_of[start] = rfc3339_ns(start)
        found = wanted[battery, metric].get(time_of[start])
        where = f"{battery} {metric} {start}"
        expect(found is not None, f"{where}: a bucket that should be empty")
        expect(int(count) == found[0], f"{where}: count {count}, expected {found[0]}")
        expect(float(mean) == found[1], f"{where}: mean {mean}, expected {found[1]!r}")
        seen += 1
    total = sum(len(b) for b in wanted.values())
    expect(seen == total, f"{seen} buckets, expected {total}")


def main():
    if not SHARED or not os.path.isdir(os.path.join(SHARED, "data")):
        cluster.skip("real data sets", "the folder shared/data is not there")
        cluster.finish()
    gc.disable()  # millions of long-lived dictionaries: collecting finds nothing and takes half the time
    plans = imports()
    oracle = Oracle()
    for plan, files in plans:
        oracle.load(os.path.join(MAPS, plan), *files)
    series = list(oracle.series())
    answers = None

    with Cluster("--nodes", "3") as group:
        with case("three data sets: every row is acknowledged"):
            total = load(group, plans)
            expect(total["rejected_points"] == 0 and total["unknown_points"] == 0, f"{total}")
            expect(total["acked_points"] == oracle.values, f"{total}, expected {oracle.values} points")
        with case("counts, minima, maxima and sums equal the independent calculation"):
            answers = whole(group)
            check_one(series, answers[0])
        with case("15-minute means equal the independent calculation"):
            expect(answers is not None, "no answer to check")
            check_means(series, answers[1])
        with case("the same answers after everything is sealed and merged"):
            group.good("settle")
            expect(whole(group) == answers, "answers differ from those before")

    with Cluster("--nodes", "3") as group:
        def disturb(i):
            if i == 2:  # while the NASA cells load
                group.wait("some points", lambda: any(n["points_total"] for n in group.status()["nodes"]))
                group.kill("n2")
            if i == 3:
                group.restart("n2")
        with case("a node killed by SIGKILL in the middle: every row is acknowledged"):
            total = load(group, plans, disturb)
            expect(total["acked_points"] == oracle.values, f"{total}, expected {oracle.values} points")
        with case("the node catches up"):
            group.wait_in_step()
        for node in ("n1", "n2", "n3"):
            with case(f"{node} alone gives the answers of the undisturbed cluster"):
                expect(answers is not None, "no answer to compare with")
                mine = whole(group, "--consistency", "one", "--node", node)
                expect(mine[0] == answers[0], "counts, minima, maxima or sums differ")
                expect(mine[1] == answers[1], "15-minute means differ")
    cluster.finish()


if __name__ == "__main__":
    main()
