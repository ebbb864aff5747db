#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Nodes on IPv6 addresses: clients, peers and HTTP reach them, and what is wrong names the address in brackets."""
import re
import socket
import subprocess
import urllib.request

from cluster import BUSBARD, Cluster, case, expect, finish, run, skip


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


def change(path, function):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    with open(path, "w", encoding="utf-8") as file:
        file.write(function(text))


def on_ipv6(group):
    """Gives every node ::1 and ports of its own, in all files; node 1 says it with brackets."""
    with open(group.path("n1", "busbard.yaml"), encoding="utf-8") as file:
        text = file.read()
    entries = re.findall(r'host: "([^"]+)"\n    client_port: (\d+)', text)
    first = int(entries[0][1])
    def node_file(text):
        for i, (host, port) in enumerate(entries):
            old = [f"{name}_port: {int(port) + k}" for k, name in enumerate(("client", "peer", "bulk", "http"))]
            new = [f"{name}_port: {first + 4 * i + k}" for k, name in enumerate(("client", "peer", "bulk", "http"))]
            where = text.index(f'host: "{host}"')
            rest = text[where:].replace(f'host: "{host}"', 'host: "[::1]"' if i == 0 else 'host: "0:0::1"', 1)
            for a, b in zip(old, new):
                rest = rest.replace(a, b, 1)
            text = text[:where] + rest
        return text
    def client_file(text):
        for i, (host, port) in enumerate(entries):
            text = text.replace(f"tcp://{host}:{port}", f"tcp://[::1]:{first + 4 * i}", 1)
        return text
    for node in group.nodes():
        change(group.path(node, "busbard.yaml"), node_file)
    for role in ("client", "reader", "writer"):
        change(group.client(role), client_file)
    return first


def main():
    if not has_ipv6():
        skip("nodes on ::1", "this machine has no IPv6 on loopback")
        finish()
    with Cluster("--nodes", "3", start=False) as group:
        first = on_ipv6(group)
        with case("three nodes on [::1] become ready, and their addresses are shown in brackets"):
            done = run("cluster", "up", group.dir, "--timeout", "60s")
            expect(done.returncode == 0, done.stdout + done.stderr)
            expect(f"tcp://[::1]:{first}" in done.stdout, done.stdout)
        with case("a write at local_quorum is read at every node"):
            summary, done = group.write("p,battery=b v=1 1700000000000000000\n")
            expect(done.returncode == 0 and summary["acked_points"] == 1, f"{summary} {done.stderr}")
            group.wait_in_step()
            for node in group.nodes():
                expect(group.count("--consistency", "one", "--node", node) == 1, node)
        with case("HTTP answers there"):
            with urllib.request.urlopen(f"http://[::1]:{first + 3}/readyz", timeout=60) as answer:
                expect(answer.status == 200, answer.status)
    with Cluster("--nodes", "1", start=False) as group, socket.socket(socket.AF_INET6) as taken:
        first = on_ipv6(group)
        with case("a port that somebody else has is named: address, which port, why"):
            taken.bind(("::1", first))
            taken.listen(1)
            done = subprocess.run([BUSBARD, "--config", group.path("n1", "busbard.yaml")], capture_output=True,
                                  text=True, timeout=60, check=False)
            expect(done.returncode == 5 and f"[::1]:{first}" in done.stderr and "client port" in done.stderr,
                   f"{done.returncode}: {done.stderr[-400:]}")
    finish()


if __name__ == "__main__":
    main()
