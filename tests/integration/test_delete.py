#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Deletes by the command line: under load, with a replica down that returns with what was deleted."""
import json
import subprocess

import cluster
from cluster import BUSBAR, EVER, Cluster, case, expect

ROWS = 200


def points(battery, metric="v", first=1, count=ROWS):
    return "".join(f"pack,battery={battery} {metric}={number} {number}000000000\n" for number in range(first, first + count))


def counted(group, node, battery):
    """How many points of the battery one node alone has."""
    done = group.cli("query", "--battery", battery, *EVER, "--node", node, "--consistency", "one", "-o", "csv")
    expect(done.returncode == 0, done.stderr)
    return max(0, len(done.stdout.splitlines()) - 1)


def everywhere(group, battery):
    return [counted(group, node, battery) for node in ("n1", "n2", "n3")]


def deleted(group, *words):
    done = group.cli("delete", *words, "--yes", "-o", "json")
    expect(done.returncode == 0, done.stderr)
    return json.loads(done.stdout)


def load(group):
    """A fleet that is written while the rest happens."""
    return subprocess.Popen(
        [BUSBAR, "-c", group.client(), "simulate", "--batteries", "50", "--duration", "10h", "--speed", "300"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def main():
    with Cluster(name="delete") as group:
        group.write(points("b1"))
        group.write(points("b2") + points("b2", "soc"))
        group.write(points("b3") + points("b3", "soc"))
        with case("a dry run counts and does nothing; without --yes nothing is deleted where nobody can be asked"):
            done = group.cli("delete", "--battery", "b2", "--dry-run", "-o", "json")
            expect(json.loads(done.stdout)["points"] == 2 * ROWS, done.stdout)
            done = group.cli("delete", "--battery", "b2", stdin="")
            expect(done.returncode == 2 and "--yes" in done.stderr, done.stderr)
            expect(counted(group, "n1", "b2") == 2 * ROWS, "something was deleted")
        with case("a writer's key may not delete"):
            done = group.cli("delete", "--battery", "b2", "--yes", role="writer")
            expect(done.returncode != 0, "it may")
            expect(counted(group, "n1", "b2") == 2 * ROWS, "something was deleted")
        with case("a metric in a range is deleted on all nodes, and nothing else"):
            answer = deleted(group, "--battery", "b3", "--metric", "soc", "--from", "1s", "--to", "101s")
            expect(answer["points"] == 100 and answer["generation"] == 1, str(answer))
            group.wait("the marker everywhere", lambda: everywhere(group, "b3") == [2 * ROWS - 100] * 3)
        with case("deleted under load while a node is down, it stays deleted when the node returns with it"):
            fleet = load(group)
            group.write(points("b2", "v", 1000))
            group.kill("n3")
            answer = deleted(group, "--battery", "b2")
            expect(answer["points"] == 3 * ROWS, str(answer))
            generation = answer["generation"]
            done = group.cli("write", "-", stdin=points("b2", count=3))
            expect(done.returncode == 1 and "generation" in done.stderr, done.stderr)
            group.restart("n3")
            group.wait("n3 without b2", lambda: everywhere(group, "b2") == [0, 0, 0])
            fleet.terminate()
            fleet.wait()
        with case("the battery is written again with the generation of the delete"):
            done = group.cli("write", "--generation", str(generation), "-", stdin=points("b2", count=7))
            expect(done.returncode == 0, done.stderr)
            group.wait("7 points everywhere", lambda: everywhere(group, "b2") == [7, 7, 7])
        with case("repeating the delete with its generation takes nothing of what was written since"):
            deleted(group, "--battery", "b2", "--generation", str(generation))
            expect(everywhere(group, "b2") == [7, 7, 7], str(everywhere(group, "b2")))
        with case("settled and started again, each node alone says the same"):
            group.good("settle")
            for node in ("n1", "n2", "n3"):
                group.kill(node)
                group.restart(node)
            group.wait_in_step()
            expect(everywhere(group, "b1") == [ROWS] * 3, "b1")
            expect(everywhere(group, "b2") == [7, 7, 7], "b2")
            expect(everywhere(group, "b3") == [2 * ROWS - 100] * 3, "b3")
    cluster.finish()


if __name__ == "__main__":
    main()
