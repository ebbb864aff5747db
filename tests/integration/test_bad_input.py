#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bad input of every kind: a clear error that names the thing, the rule and the place, the right
exit status, and nothing lost that was good."""
import contextlib
import gzip
import json
import os
import re
import shutil
import socket
import struct
import subprocess

import yaml

import cluster
from cluster import BUSBARD, EVER, Cluster, case, expect, run

T0 = 1767225600 * 10**9  # 2026-01-01T00:00:00Z


def config_of(group, node):
    with open(group.path(node, "busbard.yaml"), encoding="utf-8") as file:
        return yaml.safe_load(file)


def save(path, text):
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def values(group, battery, *words):
    out = group.json("query", *EVER, "--battery", battery, *words)
    expect(out["complete"], f"{out}")
    return [row[3] for row in out["rows"]]


# ---- data ----

GOOD = "p,battery=kept v={} {}\n"


def refused_lines(group, form, header, table, good):
    """Each bad line stands between two good ones; it is named with its number and the reason."""
    lines, place = ([header] if header else []), {}
    for i, (bad, words) in enumerate(table):
        lines.append(good(2 * i))
        lines.append(bad)
        place[len(lines)] = (bad, words)
    lines.append(good(2 * len(table)))
    summary, done = group.write("\n".join(lines) + "\n", "--format", form)
    expect(done.returncode == 1, f"status {done.returncode}: {done.stderr}")
    expect(summary["rejected_frames"] == len(table), f"{summary}: {done.stderr}")
    expect(summary["acked_points"] == len(table) + 1, f"{summary}: {done.stderr}")
    told = done.stderr.splitlines()
    for number, (bad, words) in place.items():
        of_line = [t for t in told if t.startswith(f"-:{number}:")]
        expect(len(of_line) == 1, f"line {number} '{bad[:60]}' is named {len(of_line)} times: {done.stderr[:2000]}")
        for word in words:
            expect(word in of_line[0], f"'{word}' is not in: {of_line[0]}")


def malformed(group):
    with case("line protocol: each malformed line is named with number, field and rule; the rest is stored"):
        table = [
            ("nonsense", ["tag 'battery'"]), ("p,battery=x", ["expected name=value"]), ("p,battery=x v", ["field 'v'", "name=value"]),
            ("p,battery=x v= 1", ["field 'v'", "not a number"]), ("p,battery=x v=1.2.3 1", ["field 'v'", "'1.2.3'"]),
            ("p,battery=x v=12x 1", ["field 'v'", "'12x'"]), ("p,battery=x v=0x10 1", ["field 'v'", "'0x10'"]),
            ("p,battery=x v=1e999 1", ["field 'v'", "'1e999'"]), ("p,battery=x v=9223372036854775808i 1", ["field 'v'"]),
            ("p,battery=x v=1.5i 1", ["field 'v'", "'1.5i'"]), ("p,battery=x v=NaN 1", ["field 'v'", "'NaN'"]),
            ("p,battery=x v=-inf 1", ["field 'v'", "'-inf'"]), ('p,battery=x s="open 1', ["field 's'", "closing quote"]),
            ("p,battery=x v=1 noon", ["time", "'noon'", "integer"]), ("p,battery=x v=1 1.5", ["time", "'1.5'"]),
            ("p,battery=x v=1 99999999999999999999", ["time"]), ("p,battery= v=1 1", ["tag 'battery'", "empty"]),
            ("p,x=1 v=1 1", ["battery"]), (",battery=x v=1 1", ["measurement"]),
            ("p,battery=x v=1,v=2 1", ["'v'"]), ("p,battery=x =1 1", ["name=value"]), ("p,battery=x v=1\0 1", ["NUL"])]
        refused_lines(group, "influx", "", table, lambda i: f"p,battery=kept v={i} {T0 + i}")
    with case("CSV: each malformed row is named with number, column and rule; the rest is stored"):
        table = [
            ("noon,x,1,1,true", ["time", "'noon'"]), ("2026-13-01T00:00:00Z,x,1,1,true", ["time", "2026-13-01"]),
            ("2026-02-30T00:00:00Z,x,1,1,true", ["time"]), ("2026-01-01T00:00:00Z,x,abc,1,true", ["field 'v'", "'abc'"]),
            ("2026-01-01T00:00:00Z,x,1,1.5,true", ["field 'n'", "'1.5'", "integer"]),
            ("2026-01-01T00:00:00Z,x,1,1,maybe", ["field 'on'", "'maybe'"]),
            ("2026-01-01T00:00:00Z,x,1", ["3 cells", "5"]), ("2026-01-01T00:00:00Z,,1,1,true", ["battery id", "0 bytes"]),
            ('2026-01-01T00:00:00Z,"x,1,1,true', ["quote"])]
        refused_lines(group, "csv", "time,battery,v:float,n:int,on:bool", table,
                      lambda i: f"{(T0 + 10**9 * (i + 1)) // 10**9}s,kept,{i},,")
    with case("CSV: a header that makes no sense is refused by name, nothing is sent"):
        for header, word in (("time,v", "battery"), ("time,battery", "metric"), ("time,battery,v:double", "'v:double'"),
                             ("time,battery,v,v", "twice"), ("time,battery," + "m" * 65, "64")):
            summary, done = group.write(header + "\n2026-01-01T00:00:00Z,x,1\n", "--format", "csv")
            expect(done.returncode == 1 and word in done.stderr and summary["acked_points"] == 0, f"{header}: {done}")
    with case("NDJSON: each malformed line is named with number, field and rule; the rest is stored"):
        table = [
            ("[1]", ["object"]), ('{"battery":"x","v":1', ["','"]), ('{"battery":"x","v":1} x', ["after the object"]),
            ('{"v":1}', ["'battery'", "missing"]), ('{"battery":7,"v":1}', ["'battery'"]),
            ('{"battery":"x","v":01}', ["field 'v'"]), ('{"battery":"x","v":NaN}', ["field 'v'"]),
            ('{"battery":"x","v":1e999}', ["field 'v'"]), ('{"battery":"x","v":[1]}', ["field 'v'"]),
            ('{"battery":"x","n:int":1.5}', ["field 'n'", "'1.5'"]), ('{"battery":"x","s":"a\tb"}', ["field 's'"]),
            ('{"battery":"x","s":"\\ud800"}', ["field 's'"]), ('{"battery":"x","v":1,"v":2}', ["field 'v'", "twice"]),
            ('{"battery":"x","time":"noon","v":1}', ["'time'"]), ('{"battery":"","v":1}', ["battery id"])]
        refused_lines(group, "ndjson", "", table, lambda i: json.dumps({"battery": "kept", "time": T0 + 10**12 + i, "v": i}))
    with case("good lines beside bad ones are all there"):
        expect(len(values(group, "kept")) == 23 + 10 + 16, f"{len(values(group, 'kept'))} points")
        expect(values(group, "x") == [], "a point of a bad line was stored")
    with case("a line longer than 1 MiB is named; the next one is stored"):
        text = "p,battery=long v=1 " + "1" * (1 << 21) + f"\np,battery=long v=2 {T0}\n"
        summary, done = group.write(text)
        expect(done.returncode == 1 and "-:1:" in done.stderr and "1 MiB" in done.stderr, f"{done.stderr[:300]}")
        expect(summary["acked_points"] == 1 and values(group, "long") == [2], f"{summary}")
    with case("bytes that are no text are refused line by line"):
        noise = bytes((i * 131 + 7) % 256 for i in range(4096))
        done = group.cli("write", "-o", "json", stdin=noise + b"\np,battery=noise v=1 " + str(T0).encode() + b"\n")
        expect(done.returncode == 1 and json.loads(done.stdout)["acked_points"] == 1, f"{done}")
    with case("a .gz file that is cut is an error, what was whole is stored"):
        path = os.path.join(group.folder, "cut.lp.gz")

        whole = gzip.compress("".join(f"p,battery=cut v={i} {T0 + i}\n" for i in range(20000)).encode())
        with open(path, "wb") as file:
            file.write(whole[:len(whole) // 2])
        done = group.cli("write", path, "-o", "json")
        summary = json.loads(done.stdout)
        expect(done.returncode == 1 and "cut.lp.gz" in done.stderr, f"{done}")
        expect(len(values(group, "cut")) == summary["acked_points"], f"{summary}")


def special_numbers(group):
    with case("NaN and infinities: CSV can say them and they are stored; -0 keeps its sign"):
        text = "time,battery,v:float\n" + "".join(f"{T0 // 10**9 + i}s,special,{v}\n" for i, v in
                                                  enumerate(["nan", "inf", "-inf", "-0", "Infinity"]))
        summary, done = group.write(text, "--format", "csv")
        expect(done.returncode == 0 and summary["acked_points"] == 5, f"{summary} {done.stderr}")
        out = group.good("query", *EVER, "--battery", "special", "-o", "csv")
        expect([line.split(",")[3].lower() for line in out.splitlines()[1:]] == ["nan", "inf", "-inf", "-0.0", "inf"], out)
        found = values(group, "special")  # JSON has no words for them
        expect([found[0], found[1], found[2], found[4]] == [None] * 4, f"{found}")


def limits(group):
    def line(battery="lim", metric="v", value="1", tags=""):
        return f"p,battery={battery}{tags} {metric}={value} {T0}\n"
    with case("names and texts at their limit are taken, one byte more is refused by rule"):
        for good, bad, words in (
                (line("b" * 128), line("b" * 129), ["129 bytes", "128"]),
                (line(metric="m" * 64), line(metric="m" * 65), ["64"]),
                (line(value='"' + "s" * 256 + '"'), line(metric="w", value='"' + "s" * 257 + '"'), ["257 bytes", "256"]),
                (line("att1", tags=",k=" + "v" * 256), line("att2", tags=",k=" + "v" * 257), ["attribute"]),
                (line("att3", tags="".join(f",k{i}=v" for i in range(32))),
                 line("att4", tags="".join(f",k{i}=v" for i in range(33))), ["32"]),
                (f"p,battery=wide {','.join(f'm{i}=1' for i in range(256))} {T0}\n",
                 f"p,battery=wide {','.join(f'm{i}=1' for i in range(257))} {T0}\n", ["256"])):
            summary, done = group.write(good)
            expect(done.returncode == 0, f"refused at the limit: {done.stderr} {summary}")
            summary, done = group.write(bad)
            expect(done.returncode == 1 and summary["acked_points"] == 0, f"{bad[:40]}: {done.returncode} {summary}")
            expect("-:1:" in done.stderr and all(w in done.stderr for w in words), f"{words}: {done.stderr}")
    with case("ids and texts that are not UTF-8 are refused"):
        for raw in (b"p,battery=\xff\xfe v=1 1\n", b'p,battery=utf s="\xc3" 1\n', b"p,battery=utf \xff=1 1\n"):
            done = group.cli("write", "-o", "json", stdin=raw)
            expect(done.returncode == 1 and json.loads(done.stdout)["acked_points"] == 0, f"{raw}: {done}")
            expect("-:1:" in done.stderr, f"{raw}: {done.stderr}")
    with case("times outside 1970 to 2262 are refused by rule, the first and last ns are taken"):
        limit = 9214646400 * 10**9
        summary, done = group.write(f"p,battery=when v=1 0\np,battery=when v=2 -1\np,battery=when v=3 {limit}\n")
        expect(done.returncode == 1 and summary["acked_points"] == 1 and summary["rejected_points"] == 2, f"{summary}")
        for number in (2, 3):
            told = [t for t in done.stderr.splitlines() if t.startswith(f"-:{number}:")]
            expect(len(told) == 1 and "1970" in told[0] and "2262" in told[0], f"{done.stderr}")
        summary, done = group.write(f"p,battery=when v=4 {limit - 1}\n")
        expect(done.returncode == 0 and summary["quarantined_points"] == 1, f"{summary}")
        group.good("quarantine", "release", "--battery", "when")
        done = group.cli("query", "--from", "2262-01-01T00:00:00Z", "--to", "2263-01-01T00:00:00Z")
        expect(done.returncode == 2, f"{done}")
    with case("a metric that changes its type: the error names both types, metric and battery; the first stays"):
        group.write(f"p,battery=typed v=1.5,w=1i {T0}\n")
        for value, name in (("2i", "int64"), ("t", "bool"), ('"on"', "state")):
            summary, done = group.write(f"p,battery=typed v={value},w=2i {T0 + 1}\n")
            expect(done.returncode == 1, f"{name}: status {done.returncode}: {done.stderr} {summary}")
            for word in ("-:1:", "'v'", "float64", name, "typed"):
                expect(word in done.stderr, f"'{word}' is not in: {done.stderr}")
        expect(values(group, "typed", "--metric", "v") == [1.5], "the refused value was stored")
    with case("more than a batch at once is split; every point is acknowledged"):
        text = "".join(f'p,battery=big{i % 7} s="{i:06d}{"x" * 250}" {T0 + i}\n' for i in range(40000))
        summary, done = group.write(text, "--timeout", "60s")
        expect(done.returncode == 0 and summary["acked_points"] == 40000, f"{summary} {done.stderr}")
        answer = group.json("query", *EVER, "--metric", "s", "--group-by", "none", "--agg", "count,min,max",
                            "--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T00:00:01Z")
        big = 40000 + 1  # and the text of 256 bytes above
        expect(answer["rows"][0][2] == 40000 or answer["rows"][0][2] == big, f"{answer['rows']}")


# ---- keys ----

def keys(group, other):
    """`other` is a cluster of its own: its keys are unknown here."""
    line = f"p,battery=intruder v=1 {T0}\n"
    with open(group.client(), encoding="utf-8") as file:
        mine = yaml.safe_load(file)
    with open(other.client(), encoding="utf-8") as file:
        foreign = yaml.safe_load(file)
    folder = group.folder
    with case("a key that is not listed gets no answer: status 2, every node is named, nothing written"):
        path = save(os.path.join(folder, "unknown.yaml"), yaml.safe_dump({**mine, "user": foreign["user"]}))
        for words, stdin in ((["write"], line), (["status"], None), (["query", *EVER], None)):
            done = run("-c", path, *words, "--timeout", "60s", stdin=stdin)
            expect(done.returncode == 2, f"{words}: {done.returncode} {done.stderr}")
            for word in ("key", "n1", "n2", "n3"):
                expect(word in done.stderr, f"'{word}' is not in: {done.stderr}")
        expect(values(group, "intruder") == [], "the point was stored")
    with case("a node with another key than the client file says is not talked to"):
        swapped = json.loads(json.dumps(mine))
        for node in swapped["nodes"]:
            node["public_key"] = foreign["nodes"][0]["public_key"]
        path = save(os.path.join(folder, "swapped.yaml"), yaml.safe_dump(swapped))
        done = run("-c", path, "write", "--timeout", "2s", stdin=line)
        expect(done.returncode == 4, f"{done.returncode} {done.stderr}")
    with case("a writer may not ask, a reader may not write: status 2, the role is named, nothing written"):
        done = group.cli("query", *EVER, role="writer")
        expect(done.returncode == 2 and "writer" in done.stderr, f"{done.returncode} {done.stderr}")
        _, done = group.write(line, role="reader")
        expect(done.returncode == 2 and "reader" in done.stderr, f"{done.returncode} {done.stderr}")
        group.write(f"p,battery=roles v=2 {9 * 10**18}\n")  # ahead of every clock: there is something to release
        for role in ("writer", "reader"):
            done = group.cli("quarantine", "release", role=role)
            expect(done.returncode == 2 and role in done.stderr, f"release as {role}: {done.returncode} {done.stderr}")
        expect(values(group, "intruder") == [], "the point was stored")
    with case("a writer writes and a reader reads"):
        summary, done = group.write(f"p,battery=roles v=1 {T0}\n", role="writer")
        expect(done.returncode == 0 and summary["acked_points"] == 1, f"{done.stderr}")
        expect(values(group, "roles") == [1] and group.json("last", "--battery", "roles", role="reader")["rows"][0][3] == 1,
               "not read")
    with case("a client file that others may read, or with a wrong key or endpoint, is refused by name"):
        path = save(os.path.join(folder, "open.yaml"), yaml.safe_dump(mine))
        os.chmod(path, 0o644)
        done = run("-c", path, "status")
        expect(done.returncode == 2 and "open.yaml" in done.stderr, f"{done}")
        for change, words in (
                (lambda c: c["user"].update(public_key="x" * 40), ["public_key"]),
                (lambda c: c["user"].update(secret_key="short"), ["secret_key", "40"]),
                (lambda c: c["nodes"][0].update(endpoint="127.0.0.1:1"), ["endpoint", "tcp://"]),
                (lambda c: c["nodes"][1].update(id="n1"), ["id", "'n1'", "twice"]),
                (lambda c: c.update(colour="red"), ["'colour'"]), (lambda c: c.pop("nodes"), ["nodes"])):
            copy = json.loads(json.dumps(mine))
            change(copy)
            save(path, yaml.safe_dump(copy))
            os.chmod(path, 0o600)
            done = run("-c", path, "status")
            expect(done.returncode == 2, f"{words}: {done}")
            expect(all(w in done.stderr for w in ["open.yaml:", *words]), f"{words}: {done.stderr}")


def greeting(mechanism, as_server=0):
    """ZMTP 3.0, the first 64 bytes of a connection."""
    return b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + mechanism.ljust(20, b"\0") + bytes([as_server]) + bytes(31)


def talk(address, data, more=b""):
    """Everything the node says until it closes; None when it does not close within a minute."""
    got = b""
    with socket.create_connection(address, timeout=60) as link:
        try:
            link.sendall(data)
            while len(got) < 64:
                chunk = link.recv(4096)
                if not chunk:
                    return got
                got += chunk
            link.sendall(more)
            while chunk := link.recv(4096):
                got += chunk
        except socket.timeout:
            return None
        except (ConnectionResetError, BrokenPipeError):
            pass
    return got


def curve_off(group):
    me = next(n for n in config_of(group, "n1")["nodes"] if n["id"] == "n1")
    ready = b"\x04\x26\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00"
    plain = b"\x04\x0d\x05HELLO\x01a\x01b"
    hello = b"\x04" + bytes([200]) + b"\x05HELLO\x01\x00" + bytes(72) + bytes(32) + struct.pack(">Q", 1) + bytes(80)
    for port in ("client_port", "peer_port", "bulk_port"):
        address = (me["host"], me[port])
        with case(f"{port}: no CURVE, no conversation"):
            for mechanism, more in ((b"NULL", ready + b"\x00\x05hello"), (b"PLAIN", plain), (b"CURVE", hello)):
                got = talk(address, greeting(mechanism), more)
                expect(got is not None, f"{mechanism}: the node keeps the connection")
                if mechanism == b"CURVE":  # the others may be cut off before the node has said all of it
                    expect(len(got) >= 64 and got[12:17] == b"CURVE", f"greeted with {got[:64]}")
                rest = got[64:]
                expect(b"READY" not in rest and b"WELCOME" not in rest, f"{mechanism}: {rest[:100]}")
            for noise in (b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 8, b"\xff" * 4096):
                talk_short(address, noise)
    with case("after all of this the node still answers"):
        expect(group.pid("n1") != 0, "the node has ended")
        group.good("query", *EVER, "--node", "n1", "--consistency", "one", "--limit", "1")


def talk_short(address, data):
    """Sends noise and goes away; what comes back does not matter."""
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=5) as link:
        link.settimeout(0.3)
        link.sendall(data)
        link.recv(4096)


# ---- configuration ----

def configuration(group):
    folder = os.path.join(group.folder, "check")
    os.mkdir(folder, 0o700)
    shutil.copy(group.path("n1", "node.key"), os.path.join(folder, "node.key"))
    good = config_of(group, "n1")
    path = os.path.join(folder, "busbard.yaml")

    def check(config):
        save(path, config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False))
        return subprocess.run([BUSBARD, "--check", "--config", path], capture_output=True, text=True, timeout=30, check=False)
    with case("busbard --check: a good configuration is shown with status 0"):
        done = check(good)
        expect(done.returncode == 0 and "n1" in done.stdout, f"{done}")
        secret = re.search(r'secret_key:?\s*"?([^"\s]{40})', open(group.path("n1", "node.key"), encoding="ascii").read())
        expect(secret and secret.group(1) not in done.stdout + done.stderr, "the secret key is shown")

    def nodes(index, **change):
        return lambda c: c["nodes"][index].update(change)
    first = good["nodes"][0]
    table = [
        ("an unknown key", lambda c: c.update(colour="red"), ["'colour'"]),
        ("an unknown key of node", lambda c: c["node"].update(memory="1GiB"), ["'node.memory'"]),
        ("an unknown key of limits", lambda c: c["node"].update(limits={"heart_beat": "1s"}), ["'node.limits.heart_beat'"]),
        ("a bad address", nodes(1, host="300.1.1.1:5"), ["host", "300.1.1.1:5"]),
        ("a bad port", nodes(1, client_port=70000), ["client_port", "65535"]),
        ("a port that is no number", nodes(1, peer_port="many"), ["peer_port"]),
        ("two ports that are one", nodes(0, peer_port=first["client_port"]), ["port", str(first["client_port"])]),
        ("duplicate node ids", nodes(1, id="n1"), ["id", "'n1'", "twice"]),
        ("duplicate node keys", nodes(1, public_key=first["public_key"]), ["public_key", "'n1'"]),
        ("a key that is no key", nodes(1, public_key="abc"), ["public_key", "40"]),
        ("RF above the number of nodes", lambda c: c["cluster"]["replicas"].update(dc1=4), ["dc1", "4 replicas", "3"]),
        ("a data centre nobody listed", nodes(2, dc="dc9"), ["dc", "'dc9'"]),
        ("partitions not a power of two", lambda c: c["cluster"].update(partitions=1000), ["partitions", "power of two"]),
        ("a node that is not in nodes", lambda c: c["node"].update(id="n9"), ["'n9'"]),
        ("a user twice", lambda c: c["users"].append(dict(c["users"][0])), ["users", "twice"]),
        ("a role nobody has", lambda c: c["users"][0].update(role="king"), ["role"]),
        ("a duration without unit", lambda c: c["node"].update(limits={"drain": "10"}), ["drain"]),
        ("a missing section", lambda c: c.pop("nodes"), ["nodes", "missing"]),
        ("a node without id", lambda c: c["nodes"][0].pop("id"), ["id", "missing"]),
        ("text for a number", lambda c: c["node"].update(stores="lots"), ["stores"]),
    ]
    for name, change, words in table:
        with case(f"configuration with {name}: status 2, file, line, key and rule"):
            copy = json.loads(json.dumps(good))
            change(copy)
            done = check(copy)
            expect(done.returncode == 2, f"status {done.returncode}: {done.stderr}")
            expect(re.search(r"busbard\.yaml:\d+: ", done.stderr), f"no file and line in: {done.stderr}")
            for word in words:
                expect(word in done.stderr, f"'{word}' is not in: {done.stderr}")
    with case("configuration that is no YAML, is empty, is not there, or has a key twice: status 2"):
        for text in ("node: [", "", "\tx", "node: {id: n1}\nnode: {id: n1}\n", "&a [*a]\n", "x" * 100000):
            done = check(text)
            expect(done.returncode == 2 and "busbard.yaml" in done.stderr, f"{text[:30]}: {done}")
        done = subprocess.run([BUSBARD, "--config", os.path.join(folder, "none.yaml")], capture_output=True, text=True,
                              timeout=30, check=False)
        expect(done.returncode == 2 and "none.yaml" in done.stderr, f"{done}")
    with case("a key file that others may read, is of another node or is damaged: status 2, named"):
        key = os.path.join(folder, "node.key")
        whole = open(key, encoding="ascii").read()
        os.chmod(key, 0o644)
        done = check(good)
        expect(done.returncode == 2 and "node.key" in done.stderr, f"mode 0644: {done}")
        os.chmod(key, 0o600)
        for text in (open(group.path("n2", "node.key"), encoding="ascii").read(), whole[:len(whole) // 2], ""):
            save(key, text)
            done = check(good)
            expect(done.returncode == 2 and "node.key" in done.stderr, f"{done}")
        os.unlink(key)
        done = check(good)
        expect(done.returncode == 2 and "node.key" in done.stderr, f"{done}")


# ---- folders and ports ----

def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def start(group, node):
    """Runs a node in the foreground and expects that it ends by itself."""
    return subprocess.run([BUSBARD, "--config", group.path(node, "busbard.yaml")], capture_output=True, text=True,
                          timeout=60, check=False)


def expect_in_use(done, *words):
    expect(done.returncode == 5, f"status {done.returncode}: {done.stderr[-600:]}")
    for word in words:
        expect(word in done.stderr, f"'{word}' is not in: {done.stderr[-600:]}")


def folders(group, other):
    with case("two processes on one data folder: the second ends with status 5"):
        copy = config_of(group, "n1")
        for node in copy["nodes"]:
            if node["id"] == "n1":
                node.update(host="127.0.0.201")  # its own ports, the same folder
        path = group.path("n1", "second.yaml")
        save(path, yaml.safe_dump(copy, sort_keys=False))
        done = subprocess.run([BUSBARD, "--config", path], capture_output=True, text=True, timeout=60, check=False)
        expect_in_use(done, "n1/data")
        os.unlink(path)
    with case("a port in use: status 5, the address is named, the other process is not disturbed"):
        group.kill("n3", "TERM")
        group.wait("n3 has ended", lambda: group.pid("n3") == 0)
        me = next(n for n in config_of(group, "n3")["nodes"] if n["id"] == "n3")
        for port in ("client_port", "peer_port", "bulk_port", "http_port"):
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as taken:
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                taken.bind((me["host"], me[port]))
                taken.listen(1)
                expect_in_use(start(group, "n3"), str(me[port]))
        group.restart("n3")
        group.wait_in_step()
    with case("the data folder of another cluster: status 5 by name, untouched, then it works at home"):
        other.down()
        home, away = other.path("n1", "data"), other.path("n1", "data.home")
        group.kill("n1", "TERM")
        group.wait("n1 has ended", lambda: group.pid("n1") == 0)
        os.rename(home, away)
        shutil.copytree(group.path("n1", "data"), home)
        expect_in_use(start(other, "n1"), "another cluster")
        shutil.rmtree(home)
        os.rename(away, home)
    with case("the data folder of another node: status 5, both are named"):
        kept = group.path("n1", "data.kept")
        os.rename(group.path("n1", "data"), kept)
        shutil.copytree(other.path("n2", "data"), group.path("n1", "data"))
        expect_in_use(start(group, "n1"), "another cluster")
        shutil.rmtree(group.path("n1", "data"))
        shutil.copytree(group.path("n3", "data"), group.path("n1", "data"))
        expect_in_use(start(group, "n1"), "'n3'", "'n1'")
        shutil.rmtree(group.path("n1", "data"))
        os.rename(kept, group.path("n1", "data"))
    with case("a data folder of a newer format: status 5, both numbers are named"):
        path = os.path.join(group.path("n1", "data"), "store-00", "busbar.store")
        with open(path, "rb") as file:
            whole = file.read()
        expect(whole[:4] == b"BBST" and len(whole) == 128, f"{whole[:8]}")
        newer = whole[:4] + struct.pack("<I", 999) + whole[8:124]
        with open(path, "r+b") as file:
            file.write(newer + struct.pack("<I", crc32c(newer)))
        expect_in_use(start(group, "n1"), "format 999")
        with open(path, "r+b") as file:
            file.write(whole)
    with case("another number of stores than the folder was made with: status 5, both are named"):
        path = group.path("n1", "busbard.yaml")
        whole = open(path, encoding="utf-8").read()
        save(path, re.sub(r"(?m)^  stores: 1\b", "  stores: 2", whole))
        expect_in_use(start(group, "n1"), "of 1", "of 2")
        save(path, whole)
    with case("after all of this the node starts and has everything"):
        group.up()
        group.wait_in_step()


def main():
    with Cluster("--nodes", "3") as group, Cluster("--nodes", "3", name="other") as other:
        malformed(group)
        special_numbers(group)
        limits(group)
        before = group.good("query", *EVER, "--agg", "count,min,max", "-o", "csv")
        keys(group, other)
        curve_off(group)
        configuration(group)
        folders(group, other)
        with case("nothing is lost: every replica gives the answers from before"):
            for node in group.nodes():
                after = group.good("query", *EVER, "--agg", "count,min,max", "-o", "csv", "--consistency", "one", "--node", node)
                lines = [line for line in after.splitlines() if not line.startswith("roles,")]
                expect(lines == before.splitlines(), f"{node} differs")
    cluster.finish()


if __name__ == "__main__":
    main()
