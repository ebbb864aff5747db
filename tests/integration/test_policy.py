#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Retention classes and rollups through the command line, on real processes."""
import json
import os
import signal
import time

from cluster import Cluster, case, expect, finish, run


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def files(cluster):
    return [os.path.join(cluster.dir, "nodes", node, "busbard.yaml") for node in ("n1", "n2", "n3")]


def table(client, *words):
    """Rows of a listing, as dictionaries."""
    answer = json.loads(run("-c", client, *words, "-o", "json").stdout)
    return [dict(zip(answer["columns"], row)) for row in answer["rows"]]


def logged(cluster, words, times, timeout_s=10):
    """Waits until every node's log has the words so often."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        logs = [read(os.path.join(cluster.dir, "nodes", node, "busbard.log"))
                for node in ("n1", "n2", "n3")]
        if all(log.count(words) >= times for log in logs):
            return True
        time.sleep(0.05)
    return False


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
        expect(logged(cluster, "retention and rollups read", 1), "a node did not read it")
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
        deadline = time.monotonic() + 10
        log = ""
        while time.monotonic() < deadline and "nothing changed" not in log:
            log = read(os.path.join(cluster.dir, "nodes/n1/busbard.log"))
            time.sleep(0.05)
        expect("nothing changed" in log and "'nonsense': is not known" in log, log[-500:])
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def main():
    with Cluster("--nodes", "3", "--partitions", "16") as cluster:
        configuration(cluster)
    finish()


if __name__ == "__main__":
    main()
