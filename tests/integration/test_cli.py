#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every verb, option and output form of the command line, as the documents promise them."""
import glob
import concurrent.futures
import csv
import fcntl
import gzip
import io
import json
import math
import os
import pty
import re
import stat
import struct
import subprocess
import termios
import time

import cluster
from cluster import EVER, Cluster, case, expect, run

DAY = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-02T00:00:00Z"]
T0 = 1767225600 * 10**9  # 2026-01-01T00:00:00Z
SUMMARY = {"frames", "points", "acked_points", "rejected_points", "rejected_frames", "quarantined_points",
           "unknown_points", "seconds"}


def expect_refusal(done, *words, status=2):
    expect(done.returncode == status, f"status {done.returncode}, expected {status}: {done.stderr}")
    for word in words:
        expect(word in done.stderr, f"'{word}' is not in: {done.stderr}")
    expect(done.stdout == "", f"standard output: {done.stdout[:200]}")


def write(group, text, *words, **options):
    """Writes and expects that everything is acknowledged."""
    summary, done = group.write(text, *words, **options)
    expect(done.returncode == 0, f"write: status {done.returncode}: {done.stderr}")
    expect(summary["acked_points"] == summary["points"], f"{summary}")
    return summary


def rows(group, *words):
    answer = group.json("query", *DAY, *words)
    expect(answer["complete"] is True and answer["missing_partitions"] == [], f"{answer}")
    return answer["rows"]


def bits(number):
    return float(number).hex()


# ---- without a cluster ----

def usage(folder):
    with case("no verb, unknown verb, unknown option: status 2 and a hint"):
        expect(run().returncode == 2, "no verb is not a usage error")
        expect_refusal(run("quer"), "unknown verb 'quer'", "did you mean 'query'")
        expect_refusal(run("query", "--form", "x"), "unknown option '--form'", "--from")
        expect_refusal(run("cluster", "ini"), "did you mean 'init'")
        done = run("--help")
        expect(done.returncode == 0 and "simulate" in done.stdout, f"{done}")
    with case("a missing or broken client file is a configuration error that names the file"):
        expect_refusal(run("status"), "no client file")
        expect_refusal(run("-c", os.path.join(folder, "none.yaml"), "status"), "none.yaml")
        path = os.path.join(folder, "broken.yaml")
        for text, word in (("cluster: {name: x\n", "broken.yaml:"), ("cluser: 1\n", "cluser"), ("", "broken.yaml")):
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
            os.chmod(path, 0o600)
            expect_refusal(run("-c", path, "status"), word)
    with case("questions and durations that make no sense are refused before anything is sent"):
        nowhere = ["-c", os.path.join(folder, "none.yaml")]
        for words, why in (
                (["query"], "--from and --to"),
                (["query", "--from", "now", "--to", "-1h"], "--from must be before --to"),
                (["query", "--from", "yesterday", "--to", "now"], "--from"),
                (["query", *DAY, "--every", "1m"], "--every needs --agg"),
                (["query", *DAY, "--group-by", "none"], "--group-by none needs --agg"),
                (["query", *DAY, "--group-by", "site", "--agg", "mean"], "'site'"),
                (["query", *DAY, "--agg", "median"], "'median'"),
                (["query", *DAY, "--agg", "mean,mean"], "'mean'"),
                (["query", *DAY, "--agg", "mean", "--every", "5x"], "--every"),
                (["query", *DAY, "--limit", "0"], "--limit"),
                (["query", *DAY, "-o", "xml"], "'xml'"),
                (["query", *DAY, "--consistency", "most"], "'most'"),
                (["query", *DAY, "b1"], "unexpected argument 'b1'"),
                (["query", "--from"], "--from needs a value"),
                (["status", "-o", "csv"], "csv"),
                (["write", "--format", "xml"], "'xml'"),
                (["write", "--precision", "min"], "'min'"),
                (["write", "a", "b"], "one FILE"),
                (["write", os.path.join(folder, "no-file")], "no-file"),
                (["import", "x.csv"], "--map"),
                (["battery"], "battery ls"),
                (["quarantine", "drop"], "`ls` or `release`")):
            expect_refusal(run(*nowhere, *words), why)


def init(folder):
    def place(name):
        return os.path.join(folder, name)
    with case("cluster init refuses what cannot be, with the rule, and leaves nothing"):
        for words, why in ((["--rf", "4"], "--rf 4"), (["--nodes", "0"], "--nodes"), (["--dcs", "dc1"], "NAME:NODES"),
                           (["--dcs", "a:1,a:2"], "'a' is given twice"), (["--partitions", "1000"], "power of two"),
                           (["--name", "a b"], "'a b'"), (["--hosts", "a=198.51.100.1", "--nodes", "2"], "hosts"),
                           (["--hosts", "a=1.2.3.4,a=1.2.3.5"], "given twice"), (["--dcs", "dc1:3,dc2:1", "--rf", "2"], "dc2")):
            expect_refusal(run("cluster", "init", place("refused"), *words), why)
            expect(not os.path.exists(place("refused")), f"{words}: a folder is left")
    with case("cluster init writes files that only the owner may read, and refuses the folder again"):
        done = run("cluster", "init", place("made"), "--nodes", "2")
        expect(done.returncode == 0, done.stderr)
        found = set()
        for base, _, names in os.walk(place("made")):
            for name in names:
                mode = stat.S_IMODE(os.stat(os.path.join(base, name)).st_mode)
                expect(mode == 0o600, f"{name} has mode {mode:o}")
                found.add(name)
        expect({"client.yaml", "reader.yaml", "writer.yaml", "busbard.yaml"} <= found, f"{found}")
        expect(sorted(os.listdir(place("made/nodes"))) == ["n1", "n2"], "nodes are not n1, n2")
        expect_refusal(run("cluster", "init", place("made")), "not empty")
    with case("cluster init --hosts makes a folder per host"):
        done = run("cluster", "init", place("hosts"), "--hosts", "a=198.51.100.1,b=198.51.100.2")
        expect(done.returncode == 0, done.stderr)
        expect(sorted(os.listdir(place("hosts/hosts"))) == ["a", "b"], "no folder per host")
        expect(os.path.exists(place("hosts/hosts/b/busbard.yaml")), "no configuration for host b")
        done = run("cluster", "up", place("hosts"))
        expect(done.returncode == 2 and "on this machine" in done.stderr, f"{done}")
    with case("verbs on a folder that is no cluster, or on a node that is not there, are refused"):
        expect_refusal(run("cluster", "up", place("none")), "none")
        expect_refusal(run("cluster", "kill", place("made"), "n9"), "n9")
        expect_refusal(run("cluster", "kill", place("made"), "n1", "--signal", "NOPE"), "NOPE")
        expect(run("cluster", "kill", place("made"), "n1").returncode == 4, "killing a node that does not run")


# ---- forms of input and output ----

def outputs(group):
    write(group, "".join([
        f'pack,battery=b1,site=aachen,maker=x\\ y voltage_v=412.7,cycles=31i,on=t,state="Idle" {T0}\n',
        f'pack,battery=b1 voltage_v=413 {T0 + 500_000_000}\n',
        f'pack,battery=b2,site=aachen voltage_v=-0.5 {T0 + 1}\n',
        "# a comment\n\n"]))
    with case("query -o json is one document, sorted by battery, metric, time"):
        out = group.good("query", *DAY, "--battery", "b1", "--battery", "b2", "-o", "json")
        expect(json.loads(out) == {"columns": ["battery", "metric", "time", "value"], "rows": [
            ["b1", "cycles", "2026-01-01T00:00:00Z", 31],
            ["b1", "on", "2026-01-01T00:00:00Z", True],
            ["b1", "state", "2026-01-01T00:00:00Z", "Idle"],
            ["b1", "voltage_v", "2026-01-01T00:00:00Z", 412.7],
            ["b1", "voltage_v", "2026-01-01T00:00:00.5Z", 413],
            ["b2", "voltage_v", "2026-01-01T00:00:00.000000001Z", -0.5]],
            "complete": True, "missing_partitions": []}, out)
    with case("query -o csv has the same columns and rows"):
        out = group.good("query", *DAY, "--metric", "voltage_v", "--metric", "state", "-o", "csv")
        expect(out == "battery,metric,time,value\n"
                      "b1,state,2026-01-01T00:00:00Z,Idle\n"
                      "b1,voltage_v,2026-01-01T00:00:00Z,412.7\n"
                      "b1,voltage_v,2026-01-01T00:00:00.5Z,413\n"
                      "b2,voltage_v,2026-01-01T00:00:00.000000001Z,-0.5\n", out)
    with case("a table has the same cells, and no colours where there is no terminal"):
        out = group.good("query", *DAY, "--battery", "b1")
        lines = [re.split(r"\s{2,}", line.strip()) for line in out.strip().split("\n")]
        expect(lines[0] == ["battery", "metric", "time", "value"], out)
        expect(["b1", "voltage_v", "2026-01-01T00:00:00.5Z", "413"] in lines and len(lines) == 6, out)
        expect("\033" not in out, "escape sequences")
    with case("ranges are [from, to)"):
        words = ["--battery", "b1", "--metric", "voltage_v", "-o", "json", "--from", "2026-01-01T00:00:00Z"]
        for limit, count in (("2026-01-01T00:00:00.5Z", 1), ("2026-01-01T00:00:00.500000001Z", 2)):
            answer = json.loads(group.good("query", *words, "--to", limit))
            expect(len(answer["rows"]) == count, f"to {limit}: {answer['rows']}")
    with case("--limit counts rows after sorting"):
        expect([r[1] for r in rows(group, "--battery", "b1", "--battery", "b2", "--limit", "2")] == ["cycles", "on"], "not the first two")
    with case("an unknown battery or metric gives an empty, complete answer with status 0"):
        for words in (["--battery", "nobody"], ["--metric", "nothing"]):
            expect(rows(group, *words) == [], f"{words}")
        expect(group.good("query", *DAY, "--battery", "nobody", "-o", "csv") == "battery,metric,time,value\n", "csv")
    with case("last gives the newest point of every series"):
        answer = group.json("last", "--battery", "b1")
        expect(answer["columns"] == ["battery", "metric", "time", "value"] and answer["complete"], f"{answer}")
        expect(answer["rows"] == [["b1", "cycles", "2026-01-01T00:00:00Z", 31],
                                  ["b1", "on", "2026-01-01T00:00:00Z", True],
                                  ["b1", "state", "2026-01-01T00:00:00Z", "Idle"],
                                  ["b1", "voltage_v", "2026-01-01T00:00:00.5Z", 413]], f"{answer}")
        answer = group.json("last", "--metric", "voltage_v", "--node", "n2", "--consistency", "one")
        expect([r[0] for r in answer["rows"]] == ["b1", "b2"], f"{answer}")
    with case("last --below, --above and --since choose by the newest value and its time"):
        for words, count in ((["--above", "30", "--metric", "cycles"], 1), (["--below", "31", "--metric", "cycles"], 0),
                             (["--above", "-1"], 3), (["--since", "2026-01-01T00:00:00.25Z"], 1)):
            answer = group.json("last", "--battery", "b1", *words)
            expect(len(answer["rows"]) == count, f"{words}: {answer}")
        for words in (["--below", "1", "--above", "2"], ["--below", "low"]):
            done = group.cli("last", *words)
            expect(done.returncode == 2, f"{words}: status {done.returncode} {done.stderr}")
    with case("battery ls lists batteries with the attributes of line protocol's tags"):
        answer = group.json("battery", "ls")
        expect(answer["columns"] == ["battery", "attributes"], f"{answer}")
        found = {r[0]: dict(p.split("=", 1) for p in r[1].split(",") if p) for r in answer["rows"]}
        expect(found == {"b1": {"site": "aachen", "maker": "x y"}, "b2": {"site": "aachen"}}, f"{found}")
        out = group.good("battery", "ls", "-o", "csv")
        expect(next(csv.reader(io.StringIO(out))) == ["battery", "attributes"], out)


def inputs(group, folder):
    with case("write -o json ends with one object with the promised keys"):
        summary = write(group, f"p,battery=i0 a=1,b=2 {T0}\np,battery=i0 a=3 {T0 + 1}\n")
        expect(SUMMARY <= set(summary), f"{sorted(summary)}")
        expect((summary["frames"], summary["points"], summary["acked_points"]) == (2, 3, 3), f"{summary}")
        expect(summary["rejected_frames"] == summary["quarantined_points"] == summary["unknown_points"] == 0, f"{summary}")
    with case("integer times in ns, us, ms and s"):
        for precision, unit in (("ns", 1), ("us", 10**3), ("ms", 10**6), ("s", 10**9)):
            write(group, f"p,battery=i-{precision} a=1 {T0 // unit}\n", "--precision", precision)
            expect(rows(group, "--battery", f"i-{precision}")[0][2] == "2026-01-01T00:00:00Z", precision)
    with case("the battery's tag: battery, battery_id, id, device_id or --battery-tag"):
        for tag in ("battery", "battery_id", "id", "device_id"):
            write(group, f"p,x=1,{tag}=tag-{tag} a=1 {T0}\n")
            expect(len(rows(group, "--battery", f"tag-{tag}")) == 1, tag)
        write(group, f"p,battery=other,pack=tag-pack a=1 {T0}\n", "--battery-tag", "pack")
        expect(len(rows(group, "--battery", "tag-pack")) == 1, "--battery-tag")
    with case("CSV: typed columns, quotes, empty cells, times with zone, relative and epoch"):
        text = ("time,battery,v,n:int,on:bool,state:state\n"
                '2026-01-01T01:00:00+01:00,"c,1",1.5,7,true,"say ""hi"""\n'
                "2026-01-01T00:00:01Z,\"c,1\",,8,,\n"
                f"{T0 // 10**6 + 2000},\"c,1\",2.5,,,42\n")
        summary = write(group, text, "--format", "csv", "--precision", "ms")
        expect(summary["points"] == 7 and summary["frames"] == 3, f"{summary}")
        expect(rows(group, "--battery", "c,1") == [
            ["c,1", "n", "2026-01-01T00:00:00Z", 7], ["c,1", "n", "2026-01-01T00:00:01Z", 8],
            ["c,1", "on", "2026-01-01T00:00:00Z", True],
            ["c,1", "state", "2026-01-01T00:00:00Z", 'say "hi"'], ["c,1", "state", "2026-01-01T00:00:02Z", "42"],
            ["c,1", "v", "2026-01-01T00:00:00Z", 1.5], ["c,1", "v", "2026-01-01T00:00:02Z", 2.5]],
            f"{rows(group, '--battery', 'c,1')}")
        out = group.good("query", *DAY, "--battery", "c,1", "--metric", "state", "-o", "csv")
        expect(list(csv.reader(io.StringIO(out)))[1] == ["c,1", "state", "2026-01-01T00:00:00Z", 'say "hi"'], out)
    with case("NDJSON: numbers, bools, strings, null, escapes, :int"):
        text = ('{"battery":"j\\u00e91","time":"2026-01-01T00:00:00Z","v":1e3,"on":false,"s":"a\\nb","none":null}\n'
                '{"time":' + str(T0 // 10**9 + 1) + ',"battery":"j\\u00e91","n:int":9007199254740993}\n')
        summary = write(group, text, "--format", "ndjson", "--precision", "s")
        expect(summary["points"] == 4, f"{summary}")
        expect(rows(group, "--battery", "jé1") == [
            ["jé1", "n", "2026-01-01T00:00:01Z", 9007199254740993], ["jé1", "on", "2026-01-01T00:00:00Z", False],
            ["jé1", "s", "2026-01-01T00:00:00Z", "a\nb"], ["jé1", "v", "2026-01-01T00:00:00Z", 1000]], "rows differ")
    with case("float64 and int64 read back to the same bits from CSV and JSON"):
        numbers = [0.1, 1 / 3, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, -0.0, 123456789.123456789,
                   2.0**53 + 2, -1e-7, math.pi * 1e300]
        numbers += [math.ldexp(1 + i / 997, (i * 37) % 2000 - 1000) for i in range(200)]
        write(group, "".join(f"p,battery=f64 v={n!r} {T0 + i}\n" for i, n in enumerate(numbers)))
        found = list(csv.DictReader(io.StringIO(group.good("query", *DAY, "--battery", "f64", "-o", "csv"))))
        expect([bits(r["value"]) for r in found] == [bits(n) for n in numbers], "CSV changes bits")
        expect([bits(r[3]) for r in rows(group, "--battery", "f64")] == [bits(n) for n in numbers], "JSON changes bits")
        integers = [0, -1, 2**53 + 1, 2**63 - 1, -(2**63)]
        write(group, "".join(f"p,battery=i64 v={n}i {T0 + i}\n" for i, n in enumerate(integers)))
        expect([r[3] for r in rows(group, "--battery", "i64")] == integers, "integers change")
    with case("a missing time is stamped once for the whole input"):
        before = time.time_ns()
        write(group, "p,battery=stamp1 a=1\np,battery=stamp2 a=1\n")
        after = time.time_ns()
        answer = json.loads(group.good("query", "--from", "-1h", "--to", "now", "--battery", "stamp1", "--battery",
                                       "stamp2", "-o", "json"))
        times = {r[2] for r in answer["rows"]}
        expect(len(answer["rows"]) == 2 and len(times) == 1, f"{answer}")
        stamp = times.pop()
        for moment, is_late in ((before, False), (after, True)):
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment // 10**9)) + f".{moment % 10**9:09d}Z"
            expect((stamp > text) != is_late or stamp == text, f"stamped {stamp}, clock {text}")
    with case("relative times in input and question"):
        write(group, "time,battery,v\n-30m,rel,1\nnow,rel,2\n-90m,rel,0\n", "--format", "csv")
        answer = json.loads(group.good("query", "--from", "-1h", "--to", "now", "--battery", "rel", "-o", "json"))
        expect([r[3] for r in answer["rows"]] == [1, 2], f"{answer}")
    with case("files and .gz files, the form guessed from the name"):
        path = os.path.join(folder, "points.csv.gz")
        with gzip.open(path, "wt", encoding="ascii") as file:
            file.write("time,battery,v\n2026-01-01T00:00:00Z,gz,1\n")
        expect(group.json("write", path)["acked_points"] == 1, "csv.gz")
        path = os.path.join(folder, "points.ndjson")
        with open(path, "w", encoding="ascii") as file:
            file.write('{"battery":"gz","time":"2026-01-01T00:00:01Z","v":2}\n')
        expect(group.json("write", path)["acked_points"] == 1, "ndjson")
        expect([r[3] for r in rows(group, "--battery", "gz")] == [1, 2], "rows")
    with case("without -o json a sentence says what was written"):
        done = group.cli("write", "-", stdin=f"p,battery=gz v=3 {T0 + 5}\n")
        expect(done.returncode == 0 and "1 acknowledged" in done.stdout, f"{done}")


def aggregates(group):
    text = "".join(f'p,battery=agg{b} v={b * 100 + i}.25,n={i}i,s="S{i % 3}" {T0 + i * 10**10}\n'
                   for b in (1, 2) for i in range(12))  # 0 to 110 s
    write(group, text)
    values = [100.25 + i for i in range(12)]
    with case("every aggregate over the whole range in one bucket named by its start"):
        answer = group.json("query", *DAY, "--battery", "agg1", "--metric", "v", "--agg", "mean,min,max,sum,count,first,last")
        expect(answer["columns"] == ["battery", "metric", "time", "mean", "min", "max", "sum", "count", "first", "last"],
               f"{answer['columns']}")
        total = math.fsum(values)
        expect(answer["rows"] == [["agg1", "v", "2026-01-01T00:00:00Z", total / 12, values[0], values[-1], total, 12,
                                   values[0], values[-1]]], f"{answer['rows']}")
    with case("--every: buckets aligned to the epoch and named by their start; 1m30s = 90s"):
        found = rows(group, "--battery", "agg1", "--metric", "v", "--every", "1m", "--agg", "count,first")
        expect(found == [["agg1", "v", "2026-01-01T00:00:00Z", 6, 100.25], ["agg1", "v", "2026-01-01T00:01:00Z", 6, 106.25]],
               f"{found}")
        words = ["--battery", "agg1", "--metric", "v", "--agg", "sum"]
        expect(rows(group, *words, "--every", "1m30s") == rows(group, *words, "--every", "90s"), "1m30s is not 90s")
        answer = json.loads(group.good("query", "--from", "2026-01-01T00:00:30Z", "--to", "2026-01-01T00:01:00Z", *words,
                                       "--every", "1m", "-o", "json"))
        expect([r[2:] for r in answer["rows"]] == [["2026-01-01T00:00:00Z", sum(values[3:6])]], f"{answer['rows']}")
    with case("--group-by none merges batteries; the column battery is absent"):
        answer = group.json("query", *DAY, "--battery", "agg1", "--battery", "agg2", "--metric", "v", "--group-by", "none",
                            "--every", "1m", "--agg", "count,min,max,mean,first,last")
        expect(answer["columns"] == ["metric", "time", "count", "min", "max", "mean", "first", "last"], f"{answer['columns']}")
        expect(answer["rows"] == [["v", "2026-01-01T00:00:00Z", 12, 100.25, 205.25, 152.75, 200.25, 205.25],
                                  ["v", "2026-01-01T00:01:00Z", 12, 106.25, 211.25, 158.75, 206.25, 211.25]],
               f"{answer['rows']}")
    with case("integers keep their type in min, max, first, last; states have no mean"):
        found = rows(group, "--battery", "agg1", "--metric", "n", "--agg", "min,max,first,last,sum,mean")
        expect(found[0][3:] == [0, 11, 0, 11, 66, 5.5] and isinstance(found[0][3], int), f"{found}")
        found = rows(group, "--battery", "agg1", "--metric", "s", "--agg", "count,min,max,first,last,mean,sum")
        expect(found[0][3:] == [12, "S0", "S2", "S0", "S2", None, None], f"{found}")
        out = group.good("query", *DAY, "--battery", "agg1", "--metric", "s", "--agg", "mean,count", "-o", "csv")
        expect(out.splitlines()[1] == "agg1,s,2026-01-01T00:00:00Z,,12", out)


def merging(group):
    def value(battery):
        return [r[3] for r in rows(group, "--battery", battery)]
    with case("of two values at one time and revision the larger stays, in any order"):
        for order in ((5, 3), (3, 5)):
            for v in order:
                write(group, f"p,battery=same{order[0]} v={v} {T0}\n")
            expect(value(f"same{order[0]}") == [5], f"{order}: {value(f'same{order[0]}')}")
    with case("a higher revision wins whatever its value, and stays"):
        write(group, f"p,battery=rev v=5 {T0}\n")
        write(group, f"p,battery=rev v=3 {T0}\n", "--revision", "1")
        expect(value("rev") == [3], f"{value('rev')}")
        write(group, f"p,battery=rev v=9 {T0}\n")
        expect(value("rev") == [3], f"{value('rev')}")
        expect(group.json("last", "--battery", "rev")["rows"][0][3] == 3, "last")
    with case("attributes are replaced by newer ones and kept where none are given"):
        write(group, f"p,battery=att,site=x v=1 {T0}\n")
        write(group, f"p,battery=att v=2 {T0 + 1}\n")
        write(group, f"time,battery,v\n2026-01-01T00:00:05Z,att,3\n", "--format", "csv")
        found = {r[0]: r[1] for r in group.json("battery", "ls", "--battery", "att")["rows"]}
        expect(found == {"att": "site=x"}, f"{found}")
    with case("every level acknowledges and answers"):
        levels = ("one", "local_quorum", "quorum", "each_quorum", "all")
        for i, level in enumerate(levels):
            write(group, f"p,battery=level v=1 {T0 + i}\n", "--consistency", level)
        for level in levels[1:]:
            found = rows(group, "--battery", "level", "--consistency", level)
            expect(len(found) == len(levels), f"{level}: {found}")


def quarantine(group):
    ahead = time.time_ns() + 3600 * 10**9
    with case("points more than 10 minutes ahead are acknowledged, counted, and not in answers"):
        near = time.time_ns() + 60 * 10**9
        summary = write(group, f"p,battery=q v=1 {near}\np,battery=q v=2,w=3 {ahead}\n")
        expect(summary["quarantined_points"] == 2 and summary["acked_points"] == 3, f"{summary}")
        found = group.json("query", *EVER, "--battery", "q")["rows"]
        expect([r[3] for r in found] == [1], f"{found}")
        expect([r[3] for r in group.json("last", "--battery", "q")["rows"]] == [1], "last")
    with case("quarantine ls names them, release makes them normal"):
        answer = group.json("quarantine", "ls")
        expect([(r[0], r[1], r[3]) for r in answer["rows"]] == [("q", "v", 2), ("q", "w", 3)], f"{answer}")
        expect(group.status()["quarantined_points"] >= 2, "status does not count them")
        answer = group.json("quarantine", "release", "--battery", "q")
        expect(answer["released_points"] == 2, f"{answer}")
        found = group.json("query", *EVER, "--battery", "q")["rows"]
        expect(sorted(r[3] for r in found) == [1, 2, 3], f"{found}")
        expect(group.json("quarantine", "ls")["rows"] == [], "still in quarantine")


MAP = """\
delimiter: ";"
time: {column: when, format: "%d.%m.%Y %H:%M:%S", zone: "+01:00", offsets: [{column: ms, unit: ms}]}
batteries:
  - id: left
    metrics:
      - {column: P_L, metric: power_kw, type: float, scale: 0.001, offset: 1}
      - {column: Mode, metric: mode, type: state, carry: true}
    tags: [{value: aachen, metric: site}]
  - column: cell
    prefix: "cell-"
    metrics: [{column: n, type: int}]
"""
TABLE = """\
when;ms;P_L;Mode;cell;n
01.01.2026 01:00:00;250;1500;run;A;1
01.01.2026 01:00:01;0;nan;;B;2
01.01.2026 01:00:02;-1;500;stop;;
"""


def importing(group, folder):
    map_path, table = os.path.join(folder, "map.yaml"), os.path.join(folder, "table.csv")

    def save(path, text):
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    save(map_path, MAP)
    save(table, TABLE.replace(";;\n", ";C;\n"))
    with case("import: several batteries of a row, zone, offset column, scale, carry, prefix, nan and empty cells"):
        summary = group.json("import", table, "--map", map_path)
        expect(summary["points"] == 7 and summary["acked_points"] == 7 and summary["empty_cells"] == 2, f"{summary}")
        expect(rows(group, "--battery", "left") == [
            ["left", "mode", "2026-01-01T00:00:00.25Z", "run"], ["left", "mode", "2026-01-01T00:00:01Z", "run"],
            ["left", "mode", "2026-01-01T00:00:01.999Z", "stop"],
            ["left", "power_kw", "2026-01-01T00:00:00.25Z", 2.5],
            ["left", "power_kw", "2026-01-01T00:00:01.999Z", 1.5]], f"{rows(group, '--battery', 'left')}")
        expect(rows(group, "--battery", "cell-A", "--battery", "cell-B") == [
            ["cell-A", "n", "2026-01-01T00:00:00.25Z", 1], ["cell-B", "n", "2026-01-01T00:00:01Z", 2]], "cells")
        expect(group.json("battery", "ls", "--battery", "left")["rows"] == [["left", "site=aachen"]], "tags")
    with case("import: a bad row is named with file, line, column and rule, and the rest goes on"):
        save(table, TABLE.replace("01.01.2026 01:00:01", "yesterday").replace(";;\n", ";C;x\n"))
        done = group.cli("import", table, "--map", map_path, "-o", "json")
        expect(done.returncode == 1, f"{done}")
        summary = json.loads(done.stdout)
        expect(summary["acked_points"] == 5 and summary["rejected_frames"] == 2, f"{summary}")
        for words in ((f"{table}:3:", "'when'", "yesterday"), (f"{table}:4:", "'n'", "'x'")):
            expect(any(all(w in line for w in words) for line in done.stderr.splitlines()), f"{words}: {done.stderr}")
    with case("import: a map or header that does not fit is refused before anything is sent"):
        save(table, TABLE)
        for text, words in ((MAP.replace("scale:", "skale:"), ("map.yaml:6:", "skale")),
                            (MAP.replace("column: Mode", "column: Modus"), ("'Modus'", "header")),
                            (MAP.replace("type: int", "type: integer"), ("integer",)),
                            (MAP.replace("unit: ms", "unit: month"), ("unit",)),
                            (MAP.replace("id: left", "name: left"), ("name",)),
                            ("time: [", ("map.yaml:",)), ("", ("map.yaml",))):
            save(map_path, text)
            expect_refusal(group.cli("import", table, "--map", map_path), *words)
        save(map_path, MAP)
        expect_refusal(group.cli("import", os.path.join(folder, "no.csv"), "--map", map_path), "no.csv")


def operating(group):
    with case("status -o json has cluster, epoch, nodes and under_replicated; a table says the same"):
        group.wait_in_step()
        status = group.status()
        expect(status["cluster"] == "test" and status["epoch"] >= 1 and status["under_replicated"] == 0, f"{status}")
        expect([(n["id"], n["dc"], n["up"], n["lag_chunks"]) for n in status["nodes"]] ==
               [("n1", "dc1", True, 0), ("n2", "dc1", True, 0), ("n3", "dc1", True, 0)], f"{status}")
        expect(status["unequal"] == 0, f"{status}")
        expect(all(0 < n["streams"] <= 3 and n["streams_dead"] == 0 for n in status["nodes"]), f"{status}")
        out = group.good("status")
        expect("n1" in out and "dc1" in out and "up" in out and "dead streams" in out, out)
    with case("sealing gives way to the threads that clients wait for"):
        for task in glob.glob(f"/proc/{group.pid('n1')}/task/*"):
            with open(f"{task}/stat", encoding="ascii") as file:
                name, fields = file.read().split("(", 1)[1].rsplit(")", 1)
            own = os.nice(0)
            expect(int(fields.split()[16]) == (max(own, 10) if name == "bb-seal" else own), f"{name}: nice {fields.split()[16]}")
    with case("settle returns when everything is sealed, and answers stay the same"):
        before = group.good("query", *EVER, "-o", "csv")
        group.good("settle")
        expect(group.good("query", *EVER, "-o", "csv") == before, "answers changed")
        group.wait("status shows it, too", lambda: all(n["unsealed_chunks"] == 0 for n in group.status()["nodes"]))
    with case("BUSBAR_CONFIG names the client file, -c may stand behind the verb"):
        expect(run("status", env={"BUSBAR_CONFIG": group.client()}).returncode == 0, "BUSBAR_CONFIG")
        expect(run("status", "-c", group.client()).returncode == 0, "-c behind the verb")
    with case("an unknown --node is refused by name"):
        done = group.cli("query", *DAY, "--node", "n9", "-o", "json")
        expect(done.returncode == 2 and "n9" in done.stderr, f"{done}")
    with case("cluster up on a running cluster changes nothing; two clusters run at once, apart"):
        pids = [group.pid(n) for n in group.nodes()]
        group.up()
        expect([group.pid(n) for n in group.nodes()] == pids, "nodes were started again")
        with Cluster("--nodes", "1", name="second") as second:
            expect(second.status()["cluster"] == "second", "not the second cluster")
            expect(second.json("battery", "ls")["rows"] == [], "the second cluster has batteries")
            write(second, f"p,battery=only-here v=1 {T0}\n")
        expect(rows(group, "--battery", "only-here") == [], "data crossed clusters")


def on_terminal(group, width, *words):
    """What busbar shows on a terminal of that width."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    with subprocess.Popen([cluster.BUSBAR, "-c", group.client(), *words], stdin=subprocess.DEVNULL, stdout=other,
                          stderr=other, env=environment) as process:
        os.close(other)
        shown = b""
        try:
            while chunk := os.read(main, 4096):
                shown += chunk
        except OSError:  # the terminal's way to say that nobody writes any more
            pass
        os.close(main)
        expect(process.wait(timeout=60) == 0, f"{words}: {process.returncode}: {shown[-500:]}")
    return shown.decode()


def terminal(group, folder):
    name = "battery-with-a-rather-long-name-" + "x" * 60
    write(group, f'p,battery={name} v=1.25,state="{"Idle " * 20}" {T0}\n')
    with case("on a terminal a table fits its width, the header stands out, numbers are never cut"):
        for width in (60, 100):
            shown = on_terminal(group, width, "query", *DAY, "--battery", name)
            expect("\033[" in shown, "no header stands out")
            plain = re.sub(r"\033\[[0-9;]*[a-zA-Z]", "", shown).replace("\r", "").rstrip("\n").split("\n")
            expect(all(len(line) <= width for line in plain), f"{max(len(x) for x in plain)} characters on {width}: {plain}")
            expect(any("1.25" in line for line in plain) and any("~" in line for line in plain), f"{plain}")
    with case("on a terminal an import shows points, rate and what is left"):
        path = os.path.join(folder, "many.csv")
        with open(path, "w", encoding="ascii") as file:
            file.write("time,battery,v\n" + "".join(f"{T0 + i},many,{i}\n" for i in range(400000)))
        save = os.path.join(folder, "many.yaml")
        with open(save, "w", encoding="ascii") as file:
            file.write("time: {column: time, format: epoch_ns}\nbatteries: [{column: battery, metrics: [{column: v, type: float}]}]\n")
        shown = on_terminal(group, 100, "import", path, "--map", save)
        expect("points/s" in shown and "%" in shown and "[#" in shown, f"{shown[:400]}")
        expect("400000 acknowledged" in shown, f"{shown[-300:]}")


def nobody(group):
    with case("with every node down each verb says so with status 4 within its deadline"):
        group.down()
        verbs = (["status"], ["query", *DAY], ["last"], ["battery", "ls"], ["settle"], ["quarantine", "release"], ["write"])
        with concurrent.futures.ThreadPoolExecutor(len(verbs)) as pool:  # each waits for its deadline
            ends = pool.map(lambda words: group.cli(*words, "--timeout", "1s", stdin=f"p,battery=x v=1 {T0}\n"), verbs)
            for words, done in zip(verbs, ends):
                expect(done.returncode == 4 and done.stderr.strip(), f"{words}: {done.returncode} {done.stderr}")


def partial():
    with Cluster("--nodes", "3", "--rf", "1") as group:
        write(group, "".join(f"p,battery=x{i} v=1 {T0}\n" for i in range(200)))
        with case("one replica that lacks partitions answers partially: status 3 and the missing ones"):
            seen, missing = 0, []
            for node in group.nodes():
                done = group.cli("query", *DAY, "--consistency", "one", "--node", node, "-o", "json")
                expect(done.returncode == 3, f"{node}: status {done.returncode}: {done.stderr}")
                answer = json.loads(done.stdout)
                expect(answer["complete"] is False and "partial" in done.stderr, f"{done.stderr}")
                lost = answer["missing_partitions"]
                expect(lost == sorted(set(lost)) and 0 < len(lost) < 1024, f"{node}: {len(lost)} missing")
                seen += len(answer["rows"])
                missing += lost
            expect(seen == 200, f"{seen} of 200 batteries over all nodes")
            expect(len(missing) == 2 * 1024, f"{len(missing)} missing in all")
        with case("a lost partition makes an answer partial, never silently smaller"):
            group.kill("n3")
            done = group.cli("query", *DAY, "-o", "json", "--timeout", "3s")
            expect(done.returncode == 3, f"status {done.returncode}: {done.stderr}")
            answer = json.loads(done.stdout)
            expect(not answer["complete"] and answer["missing_partitions"] and 0 < len(answer["rows"]) < 200, "not partial")


def data_centres():
    with Cluster("--dcs", "dc1:3,dc2:3") as group:
        with case("two data centres of three nodes: all start, status names both"):
            status = group.status()
            found = [(n["id"], n["dc"], n["up"]) for n in status["nodes"]]
            expect(found == [(f"n{i}", "dc1" if i < 4 else "dc2", True) for i in range(1, 7)], f"{found}")
        with case("two data centres: a write at local_quorum reaches all six replicas"):
            write(group, "".join(f"p,battery=d{i} v={i} {T0}\n" for i in range(50)))
            group.wait_in_step()
            for node in group.nodes():
                found = rows(group, "--consistency", "one", "--node", node)
                expect(len(found) == 50, f"{node} has {len(found)} of 50")
        with case("two data centres: the loss of one is not noticed in the other"):
            for node in ("n4", "n5", "n6"):
                group.kill(node)
            write(group, f"p,battery=after v=1 {T0}\n")
            expect(len(rows(group)) == 51, f"{len(rows(group))} of 51")
        with case("two data centres, one lost: levels that need it are refused, naming it"):
            for level in ("quorum", "each_quorum", "all"):
                named = "dc2 has 0 of the" if level != "quorum" else "3 of 4 in all"
                group.refused(named, "write", "-", "--consistency", level, stdin=f"p,battery=no v=1 {T0}\n")
            done = group.cli("query", *DAY, "--consistency", "each_quorum", "--timeout", "1s")
            expect(done.returncode in (3, 4), f"a query: exit status {done.returncode}")


def main():
    with Cluster("--nodes", "3") as group:
        folder = group.folder
        usage(folder)
        init(folder)
        outputs(group)
        inputs(group, folder)
        aggregates(group)
        merging(group)
        quarantine(group)
        importing(group, folder)
        operating(group)
        terminal(group, folder)
        nobody(group)
    partial()
    data_centres()
    cluster.finish()


if __name__ == "__main__":
    main()
