#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The HTTP side of a node: /metrics in Prometheus' format, /healthz, /readyz, and nothing else."""
import http.client
import os
import re
import socket
import subprocess

import yaml

import cluster
from cluster import ROOT, Cluster, case, expect

PROMTOOL = os.path.join(ROOT, "build/tools/usr/bin/promtool")


def address(group, node):
    with open(group.path(node, "busbard.yaml"), encoding="utf-8") as file:
        config = yaml.safe_load(file)
    found = next(n for n in config["nodes"] if n["id"] == node)
    return found["host"], found["http_port"]


def get(group, node, path, method="GET"):
    connection = http.client.HTTPConnection(*address(group, node), timeout=60)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type") or "", answer.read().decode()
    finally:
        connection.close()


def samples(text):
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            found[name] = float(value)
    return found


def total(text, name):
    return sum(v for k, v in samples(text).items() if k == name or k.startswith(name + "{"))


def raw(group, node, data):
    """Sends bytes, returns what comes until the other side closes."""
    with socket.create_connection(address(group, node), timeout=60) as link:
        try:
            link.sendall(data)
            got = b""
            while chunk := link.recv(4096):
                got += chunk
            return got
        except (ConnectionResetError, BrokenPipeError):
            return b""


def main():
    with Cluster("--nodes", "3") as group:
        with case("/healthz and /readyz answer 200 on every node"):
            for node in group.nodes():
                for path in ("/healthz", "/readyz"):
                    status, _, body = get(group, node, path)
                    expect(status == 200, f"{node}{path}: {status} {body}")
        text = ""
        with case("/metrics is text and every name begins with busbar_ and has HELP and TYPE"):
            status, kind, text = get(group, "n1", "/metrics")
            expect(status == 200 and kind.startswith("text/plain"), f"{status} {kind}")
            names = {re.split(r"[{ ]", k)[0] for k in samples(text)}
            expect(len(names) > 10, f"only {len(names)} names")
            expect(all(n.startswith("busbar_") for n in names), f"{sorted(names)}")
            for word in ("HELP", "TYPE"):
                told = set(re.findall(rf"^# {word} (\S+)", text, re.M))
                for name in names:
                    base = re.sub(r"_(bucket|sum|count)$", "", name)
                    expect(name in told or base in told, f"{name} has no {word}")
        if os.access(PROMTOOL, os.X_OK):
            with case("promtool check metrics has nothing to say"):
                done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, text=True,
                                      timeout=60, check=False)
                expect(done.returncode == 0 and not done.stderr.strip(), f"{done.returncode}: {done.stderr}")
        else:
            cluster.skip("promtool check metrics", "promtool is not unpacked under build/tools")
        with case("counters move when points are written"):
            before = [samples(get(group, n, "/metrics")[2]) for n in group.nodes()]
            group.write("".join(f"p,battery=m{i} v={i}.5 1700000000000000000\n" for i in range(100)))
            after = [samples(get(group, n, "/metrics")[2]) for n in group.nodes()]
            moved = {k for b, a in zip(before, after) for k in a if "_total" in k and a[k] > b.get(k, 0)}
            expect(len(moved) >= 3, f"only {sorted(moved)} moved")
            for b, a in zip(before, after):
                fell = [k for k in a if "_total" in k and a[k] < b.get(k, 0)]
                expect(not fell, f"counters fell: {fell}")
        with case("a group over a fleet is one page that threads share"):
            group.write("".join(f"g,battery=g{i} power={i} 170000000000000000{k}\n" for i in range(400) for k in range(3)))
            pages = parts = 0
            for _ in range(5):
                before = get(group, "n1", "/metrics")[2]
                answer = group.json("query", "--from", "2023-11-14T00:00:00Z", "--to", "2023-11-15T00:00:00Z", "--metric",
                                    "power", "--agg", "count,sum,min,max", "--group-by", "none", "--node", "n1",
                                    "--consistency", "one")
                rows = [dict(zip(answer["columns"], row)) for row in answer["rows"]]
                found = [(r["count"], r["sum"], r["min"], r["max"]) for r in rows]
                expect(found == [(1200, 3 * 79800, 0, 399)], f"{answer}")
                after = get(group, "n1", "/metrics")[2]
                pages += total(after, "busbar_scan_pages_total") - total(before, "busbar_scan_pages_total")
                parts += total(after, "busbar_scan_parts_total") - total(before, "busbar_scan_parts_total")
            expect(pages == 5, f"{pages} pages for 5 answers")
            expect(1 <= parts <= 5, f"{parts} parts for 5 answers by 2 threads")
        with case("other paths and methods are refused"):
            expect(get(group, "n1", "/nothing")[0] == 404, "an unknown path is not 404")
            expect(get(group, "n1", "/metrics", "POST")[0] in (400, 405), "POST was taken")
        with case("oversize and malformed requests end the connection, not the node"):
            raw(group, "n1", b"GET /" + b"x" * 100000 + b" HTTP/1.1\r\n\r\n")
            raw(group, "n1", b"\x00\xff\x00\xff\r\n\r\n")
            raw(group, "n1", b"GET /metrics HTTP/1.1\r\n" + b"X-Y: z\r\n" * 10000 + b"\r\n")
            expect(get(group, "n1", "/healthz")[0] == 200, "the node does not answer any more")
            expect(group.pid("n1") != 0, "the node has ended")
        with case("logs are logfmt with time, level, actor and message, and hold no secret"):
            with open(group.path("n1", "node.key"), encoding="ascii") as file:
                secret = re.search(r'secret_key:?\s*"?([^"\s]{40})', file.read()).group(1)
            pair = r'[a-z_]+=(?:"(?:[^"\\]|\\.)*"|[^ "]*)'
            for node in group.nodes():
                lines = group.log(node).splitlines()
                expect(len(lines) > 2, f"{node} logs {len(lines)} lines")
                for line in lines:
                    expect(re.fullmatch(rf"ts=\S+Z level=(debug|info|warning|error) actor=\S+(?: {pair})+", line), line)
                    expect(" msg=" in line and secret not in line, line)
        with case("a slow client does not hold up others"):
            with socket.create_connection(address(group, "n1"), timeout=60) as link:
                link.sendall(b"GET /met")
                expect(get(group, "n1", "/healthz")[0] == 200, "no answer beside a slow client")
    cluster.finish()


if __name__ == "__main__":
    main()
