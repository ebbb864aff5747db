#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rules of the configuration: what is above the limit becomes a point of the rule's metric on every
replica, also when a node was killed meanwhile, and journals are let go afterwards."""
import cluster
from cluster import Cluster, case, expect

EVENT = "busbar.watch.hot"


def events(group, *words):
    done = group.cli("query", "--metric", EVENT, "--from", "0s", "--to", "3600s", *words, "-o", "csv")
    expect(done.returncode == 0, done.stderr)
    return sorted(line.split(",")[0] for line in done.stdout.splitlines()[1:])


def main():
    with Cluster(name="watch", start=False) as group:
        for node in group.nodes():
            with open(group.path(node, "busbard.yaml"), "a", encoding="utf-8") as file:
                file.write("watch:\n  - {name: hot, metric: temperature_c, above: 60}\n")
        group.up()
        lines = "".join(f"pack,battery=b{n} temperature_c={50 + n},other=99 1000\n" for n in range(21))
        with case("values above the limit, and no others, have an event on every replica"):
            group.write(lines)
            group.wait("ten events", lambda: len(events(group)) == 10)
            names = events(group)
            group.wait_in_step()
            for node in group.nodes():
                expect(events(group, "--node", node, "--consistency", "one") == names, f"{node} has others than {names}")
        with case("a node that was killed has them, too, and nothing is lost"):
            group.kill("n2", "KILL")
            group.write(lines.replace("battery=b", "battery=c"))
            group.wait("twenty events", lambda: len(events(group)) == 20)
            group.restart("n2")
            group.wait_in_step()
            expect(len(events(group, "--node", "n2", "--consistency", "one")) == 20, "n2 lacks events")
        with case("journals are let go once the rules have seen all"):
            group.good("settle")
    cluster.finish()


if __name__ == "__main__":
    main()
