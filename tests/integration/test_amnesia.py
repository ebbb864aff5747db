#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Disks that forget, folders that are copied, nodes that are alone: whoever has forgotten what it
acknowledged counts for nothing until it was rebuilt (faults 25, 26 and 27)."""
import json
import os
import shutil
import signal
import subprocess
import time

import cluster
from cluster import BUSBARD, EVER, Cluster, case, expect, run
from machine import Machine, promised
from test_metrics import get

TWIN_HOST = "127.0.0.33"
ONE = ["--consistency", "one"]
QUORUM = ["--consistency", "local_quorum"]


def lines(day, count=500):
    """`count` points of as many batteries."""
    base = 1767225600 + 86400 * day
    return "".join(f"m,battery=b{i:04} v={i}i {base + i}000000000\n" for i in range(count))


def standing(group, node):
    found = next(n for n in group.status()["nodes"] if n["id"] == node)
    return found["standing"], found["boot"]


def lose(group, node):
    shutil.rmtree(group.path(node, "data"))
    os.mkdir(group.path(node, "data"), 0o700)


def start(group, node):
    """Without waiting until it is ready, which it may never be."""
    run("cluster", "restart", group.dir, node, "--timeout", "100ms", timeout_s=60)


def alone(group, node):
    answer = json.loads(group.cli("query", *EVER, "--agg", "count", "--group-by", "none", "-o", "json", *ONE,
                                  "--node", node).stdout)
    return answer["rows"][0][answer["columns"].index("count")] if answer["rows"] else 0


def weightless(group):
    """n1 hears nobody, and n3 has just lost its disk."""
    start(group, "n3")
    group.wait("n3 waits", lambda: get(group, "n3", "/readyz")[2].startswith("waiting for"))
    done = group.write(lines(1), *QUORUM, "--timeout", "1500ms")[1]
    expect(done.returncode == 4, f"a write at local_quorum with a lost disk as second replica: {done}")
    done = group.cli("query", *EVER, "--agg", "count", *QUORUM, "--timeout", "1s", "--node", "n3")
    expect(done.returncode in (3, 4), f"a read at local_quorum of a lost disk: {done}")
    time.sleep(0.5)
    expect(get(group, "n3", "/readyz")[0] == 503, "n3 counts without a majority of the others")


def empty_disk(group):
    with case("a node with an empty disk has no weight before it was rebuilt, then it counts and has every point"):
        expect(group.write(lines(0), *QUORUM)[1].returncode == 0, "the first write failed")
        boot = standing(group, "n3")[1]
        group.kill("n3")
        lose(group, "n3")
        # n1 hears nobody: n2 knows the boot number of n3, but a majority of the others is two.
        os.kill(group.pid("n1"), signal.SIGSTOP)
        try:
            weightless(group)
        finally:
            begin = time.monotonic()
            os.kill(group.pid("n1"), signal.SIGCONT)
        group.wait("n3 counts", lambda: get(group, "n3", "/readyz")[0] == 200)
        print(f"# counted again {time.monotonic() - begin:.1f} s after a majority of the others was there")
        expect(standing(group, "n3") == ("counting", boot + 1), f"n3 is {standing(group, 'n3')}")
        expect(alone(group, "n3") >= 500, "points are missing at n3 alone")
        expect(group.write(lines(1), *QUORUM)[1].returncode == 0, "a write failed when all count")


def old_copy(group):
    with case("an older copy of the folder is detected and rebuilt: 3 of 3"):
        copy = os.path.join(group.folder, "copy")
        group.kill("n3")
        shutil.copytree(group.path("n3", "data"), copy)
        found, before = 0, group.log("n3").count("the disk lacks what this node once acknowledged")
        for turn in range(3):
            group.restart("n3")
            boot = standing(group, "n3")[1]
            expect(group.write(lines(2 + turn), *QUORUM)[1].returncode == 0, "a write failed")
            group.kill("n3")
            shutil.rmtree(group.path("n3", "data"))
            shutil.copytree(copy, group.path("n3", "data"))
            group.restart("n3")
            expect(standing(group, "n3") == ("counting", boot + 1), f"n3 is {standing(group, 'n3')}, was {boot}")
            found += group.log("n3").count("the disk lacks what this node once acknowledged") == turn + before + 1
            group.wait("every point at n3 alone", lambda: alone(group, "n3") == alone(group, "n1"))
        expect(found == 3, f"detected {found} times of 3")


def isolated(group):
    with case("a node without a majority serves `one` only, and says why"):
        group.kill("n1")
        group.kill("n2")
        group.kill("n3")
        start(group, "n3")
        group.wait("n3 serves", lambda: get(group, "n3", "/readyz")[2].startswith("waiting for a majority"))
        status, _, text = get(group, "n3", "/readyz")
        expect(status == 503 and "majority" in text, f"readyz: {status} {text}")
        done = group.write(lines(6), *ONE)[1]
        expect(done.returncode == 0, f"a write at one failed: {done.stderr}")
        expect(alone(group, "n3") > 0, "a read at one failed")
        group.refused("NOT_COUNTING", "write", *QUORUM, stdin=lines(7))
        expect(get(group, "n3", "/readyz")[0] == 503, "an isolated node counts")
        begin = time.monotonic()
        group.restart("n1")
        group.restart("n2")
        group.wait("n3 counts", lambda: get(group, "n3", "/readyz")[0] == 200)
        print(f"# all counted {time.monotonic() - begin:.1f} s after the first of the others was started")


def edit(path, old, new):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    expect(old in text, f"{path} lacks {old}")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text.replace(old, new))


def twin():
    """n3's folder is copied and runs elsewhere too; n1 talks to the copy, n2 to the original."""
    with Cluster("--nodes", "3") as group:
        edit(group.path("n1", "busbard.yaml"), 'host: "127.0.0.3"', f'host: "{TWIN_HOST}"')
        group.restart("n1")
        other = os.path.join(group.folder, "twin")
        process = None
        with case("of two processes with one identity the older fences itself within 5 s"), Machine(group.folder) as machine:
            expect(group.write(lines(0), *QUORUM)[1].returncode == 0, "the first write failed")
            shutil.copytree(os.path.dirname(group.path("n3", "data")), other)
            edit(os.path.join(other, "busbard.yaml"), 'host: "127.0.0.3"', f'host: "{TWIN_HOST}"')
            with open(os.path.join(other, "twin.log"), "w", encoding="utf-8") as log:
                process = subprocess.Popen([BUSBARD, "--config", os.path.join(other, "busbard.yaml")],
                                           stderr=log, stdout=log)
            begin = time.monotonic()
            group.wait("the older is fenced", lambda: get(group, "n3", "/readyz")[2].startswith("fenced"))
            promised(machine, "fenced", 5, time.monotonic() - begin)
            expect("another process has this node's identity" in group.log("n3") and "boot 2" in group.log("n3"),
                   "its log does not name the other")
            expect(process.poll() is None and group.pid("n3") != 0, "a process ended")
            done = group.cli("query", *EVER, "--agg", "count", *ONE, "--node", "n3")
            expect(done.returncode in (3, 4), f"a fenced process answers: {done}")
        if process:
            process.kill()
            process.wait()


def main():
    with Cluster("--nodes", "3") as group:
        empty_disk(group)
        old_copy(group)
        isolated(group)
    twin()
    cluster.finish()


if __name__ == "__main__":
    main()
