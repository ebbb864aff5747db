#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Retention classes and rollups through the command line, on real processes."""
import json
import os
import signal
import time
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

from cluster import EVER, Cluster, case, expect, finish, run


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def files(cluster):
    return [os.path.join(cluster.dir, "nodes", node, "busbard.yaml") for node in ("n1", "n2", "n3")]


def table(client, *words):
    """Rows of a listing, as dictionaries."""
    answer = json.loads(run("-c", client, *words, "-o", "json").stdout)
    return [dict(zip(answer["columns"], row)) for row in answer["rows"]]


def wait_logged(cluster, words):
    """Until every node's log has the words."""
    cluster.wait(f"'{words}' in each log", lambda: all(words in cluster.log(node) for node in cluster.nodes()))


def configuration(cluster):
    client = os.path.join(cluster.dir, "client.yaml")
    before = [read(path) for path in files(cluster)]
    with case("retention: a class is written to every node, which reads it"):
        done = run("-c", client, "retention", "set", "cells", "--metric", "cell_*", "--keep", "30d")
        expect(done.returncode == 0, done.stderr)
        for old, path in zip(before, files(cluster)):
            new = read(path)
            kept = old.split("retention:")[0]
            expect(new.startswith(kept), f"{path} lost something")
            expect("30d" in new and "cell_*" in new, f"{path} has no class")
        wait_logged(cluster, "retention and rollups read")
    with case("retention: order, change and default"):
        for words in (["lab", "--site", "aachen", "--keep", "12h", "--before", "cells"],
                      ["cells", "--keep", "60d"], ["default", "--keep", "400d"]):
            done = run("-c", client, "retention", "set", *words)
            expect(done.returncode == 0, done.stderr)
        listed = table(client, "retention", "ls")
        got = [(row["name"], row["keep"]) for row in listed]
        expect(got == [("lab", "12h"), ("cells", "60d"), ("default", "400d")], got)
    with case("retention: what is wrong is refused and changes nothing"):
        texts = [read(path) for path in files(cluster)]
        for words in (["x", "--keep", "18mo", "--metric", "a"], ["x", "--keep", "5d"],
                      ["default", "--keep", "5d", "--metric", "a"], ["x y", "--keep", "5d"],
                      ["x", "--keep", "5d", "--tag", "novalue"]):
            done = run("-c", client, "retention", "set", *words)
            expect(done.returncode == 2 and done.stderr, f"{words}: {done.returncode}")
        expect(run("-c", client, "retention", "drop", "nobody").returncode == 2, "dropped nobody")
        expect(texts == [read(path) for path in files(cluster)], "a file changed")
    with case("rollup: create, ls, drop"):
        done = run("-c", client, "rollup", "create", "soc-daily", "--metric", "soc_pct", "--every",
                   "day", "--zone", "Europe/Berlin", "--agg", "min,max")
        expect(done.returncode == 0, done.stderr)
        for words in (["soc-daily", "--every", "day", "--agg", "min"],
                      ["a", "--every", "day", "--agg", "median"],
                      ["a", "--every", "7m", "--agg", "min"],
                      ["a", "--every", "1h", "--zone", "UTC", "--agg", "min"],
                      ["a", "--every", "day", "--zone", "Mars/Olympus", "--agg", "min"]):
            done = run("-c", client, "rollup", "create", *words)
            expect(done.returncode == 2 and done.stderr, f"{words}: {done.returncode}")
        listed = table(client, "rollup", "ls")
        expect(len(listed) == 1 and listed[0]["zone"] == "Europe/Berlin", listed)
        expect(run("-c", client, "rollup", "drop", "soc-daily").returncode == 0, "drop")
        expect(table(client, "rollup", "ls") == [], "still there")
    with case("reload: a file that is wrong changes nothing and is named"):
        path = files(cluster)[0]
        text = read(path)
        with open(path, "a", encoding="utf-8") as file:
            file.write("nonsense: 1\n")
        os.kill(cluster.pid("n1"), signal.SIGHUP)
        cluster.wait("n1 refuses it", lambda: "nothing changed" in cluster.log("n1"))
        expect("'nonsense': is not known" in cluster.log("n1"), cluster.log("n1")[-500:])
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def berlin(cluster):
    """Two weeks around the change of the clocks, half-hourly, and what Python says of each day."""
    zone = ZoneInfo("Europe/Berlin")
    begin = int(datetime(2025, 3, 24, tzinfo=timezone.utc).timestamp())
    lines = []
    days = {}
    for battery in ("b1", "b2"):
        for step in range(14 * 48):
            second = begin + step * 1800
            value = (step * 7919 + len(battery) * 31 + int(battery[1]) * 17) % 1000 / 10
            lines.append(f"m,battery={battery} soc_pct={value},other={step}i {second * 10**9}")
            day = datetime.fromtimestamp(second, zone).date()
            days.setdefault((battery, day), []).append(value)
    expected = sorted((battery, int(datetime(d.year, d.month, d.day, tzinfo=zone).timestamp()),
                       min(values), max(values), len(values))
                      for (battery, d), values in days.items())
    return "\n".join(lines), expected


def asked(cluster, name, *words):
    answer = cluster.json("query", "--rollup", name, "--agg", "min,max,count", *words)
    expect(answer["complete"], "partial")
    at = [answer["columns"].index(c) for c in ("battery", "time", "min", "max", "count")]
    rows = []
    for row in answer["rows"]:
        battery, time_text, low, high, count = (row[i] for i in at)
        start = int(datetime.fromisoformat(time_text.replace("Z", "+00:00")).timestamp())
        rows.append((battery, start, low, high, count))
    return sorted(rows)


def rollups(cluster):
    text, expected = berlin(cluster)
    client = cluster.client()
    with case("rollup: days of Berlin over the change of the clocks equal Python's"):
        done = run("-c", client, "rollup", "create", "soc-daily", "--metric", "soc_*", "--every",
                   "day", "--zone", "Europe/Berlin", "--agg", "min,max,count")
        expect(done.returncode == 0, done.stderr)
        wait_logged(cluster, "rollups=1")
        _, done = cluster.write(text)
        expect(done.returncode == 0, done.stderr)
        got = asked(cluster, "soc-daily", *EVER)
        expect(got == expected, f"{len(got)} rows, expected {len(expected)}: {got[:3]}")
    with case("rollup: the same from stored results, and after late points"):
        cluster.good("settle")
        got = asked(cluster, "soc-daily", *EVER)
        expect(got == expected, f"{got[:3]} {expected[:3]}")
        time.sleep(1)
        expect(asked(cluster, "soc-daily", *EVER) == expected, "another answer")
        late = expected[3]
        _, done = cluster.write(f"m,battery={late[0]} soc_pct=-5 {(late[1] + 7) * 10**9}")
        expect(done.returncode == 0, done.stderr)
        now = [(*row[:2], -5, row[3], row[4] + 1) if row == late else row for row in expected]
        expect(asked(cluster, "soc-daily", *EVER) == now, "the late point is missing")
        cluster.good("settle")
        expect(asked(cluster, "soc-daily", *EVER) == now, "the late point went")
        for node in ("n1", "n2", "n3"):
            cluster.restart(node)
        cluster.wait_in_step()
        expect(asked(cluster, "soc-daily", *EVER) == now, "another answer after a restart")
    with case("rollup: ranges name buckets by their start; other questions are refused"):
        first, last = expected[2][1], expected[5][1]
        got = asked(cluster, "soc-daily", "--from", f"{first}s", "--to", f"{last}s", "--battery",
                    expected[2][0])
        expect([row[1] for row in got] == [row[1] for row in expected[2:5]], got)
        done = cluster.cli("query", *EVER, "--rollup", "soc-daily", "--agg", "sum")
        expect(done.returncode == 2 and "has min, max, count" in done.stderr, done.stderr)
        done = cluster.cli("query", *EVER, "--rollup", "nobody", "--agg", "min")
        expect(done.returncode != 0 and "no rollup 'nobody'" in done.stderr, done.stderr)
        done = cluster.cli("query", *EVER, "--rollup", "soc-daily", "--agg", "min", "--every", "1h")
        expect(done.returncode == 2, done.stderr)


def folders(cluster, node):
    """Window folders of a node, by class."""
    top = cluster.path(node, "data/store-00/windows")
    return {name: sorted(os.listdir(os.path.join(top, name))) for name in sorted(os.listdir(top))}


def retention(cluster):
    """Three days of data, then a class that keeps one."""
    client = cluster.client()
    left_s = 86400 - time.time() % 86400
    if left_s < 120:  # what is kept for a day would change in the middle
        time.sleep(left_s + 1)
    today = int(time.time()) // 86400
    begin = (today - 3) * 86400
    lines = [f"m,battery=b{b} soc_pct={step % 90},cell_v=3.{step % 10} {(begin + step * 600) * 10**9}"
             for b in range(4) for step in range(3 * 144)]
    with case("retention: windows of a class go with their folders, others stay"):
        _, done = cluster.write("\n".join(lines))
        expect(done.returncode == 0, done.stderr)
        cluster.good("settle")
        expect(cluster.count("--metric", "cell_v") == 4 * 432, "not all there")
        done = run("-c", client, "retention", "set", "cells", "--metric", "cell_*", "--keep", "24h")
        expect(done.returncode == 0, done.stderr)
        # Points that are in windows already stay in the class that they were written in.
        expect(cluster.count("--metric", "cell_v") == 4 * 432, "old windows went")
        done = run("-c", client, "retention", "set", "default", "--keep", "24h")
        expect(done.returncode == 0, done.stderr)
        kept = [line for line in lines if int(line.split()[-1]) >= (today - 1) * 86400 * 10**9]
        cluster.wait("old points gone", lambda: cluster.count("--metric", "soc_pct") == len(kept))
        for node in ("n1", "n2", "n3"):
            names = [day for days in folders(cluster, node).values() for day in days]
            oldest = datetime.fromtimestamp((today - 1) * 86400, timezone.utc).strftime("%Y-%m-%d")
            expect(names and all(name[:10] >= oldest for name in names), f"{node}: {names}")
    with case("retention: old points are refused by name, new ones fall into their class"):
        old = (today - 2) * 86400 * 10**9
        summary, done = cluster.write(f"m,battery=b1 soc_pct=1 {old}\n")
        expect(done.returncode == 1 and summary["rejected_points"] == 1, f"{summary} {done.stderr}")
        expect("retention class 'default' keeps nothing before" in done.stderr, done.stderr)
        _, done = cluster.write(f"m,battery=b1 cell_v=3.3,soc_pct=50 {(today * 86400 + 1) * 10**9}")
        expect(done.returncode == 0, done.stderr)
        cluster.good("settle")
        expect(any(len(folders(cluster, node)) == 2 for node in ("n1", "n2", "n3")),
               folders(cluster, "n1"))
    with case("retention: floors outlive restarts and a longer keep"):
        before = cluster.count("--metric", "soc_pct")
        done = run("-c", client, "retention", "set", "default", "--keep", "forever")
        expect(done.returncode == 0, done.stderr)
        for node in ("n1", "n2", "n3"):
            cluster.restart(node)
        cluster.wait_in_step()
        _, done = cluster.write(f"m,battery=b1 soc_pct=1 {(today - 2) * 86400 * 10**9}\n")
        expect(done.returncode == 1 and "keeps nothing before" in done.stderr, done.stderr)
        expect(cluster.count("--metric", "soc_pct") == before, "points came back")


def main():
    with Cluster("--nodes", "3", "--partitions", "16") as cluster:
        configuration(cluster)
    with Cluster("--nodes", "3", "--partitions", "16") as cluster:
        rollups(cluster)
    with Cluster("--nodes", "3", "--partitions", "16") as cluster:
        retention(cluster)
    finish()


if __name__ == "__main__":
    main()
