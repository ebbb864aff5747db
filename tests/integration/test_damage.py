#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Segments whose pages lead their reader astray, or that were cut short: the node that meets them
stays up, names them, and serves the rest, complete; so it does after a restart."""
import glob
import json
import os

from cluster import Cluster, case, expect, finish

PAGE = 4096
DAYS = ("2026-01-01", "2026-01-02", "2026-01-03")
LEAF = 2  # P_LEAF of LMDB


def segments(group, day):
    return sorted(glob.glob(group.path("n1", f"data/store-*/windows/*/{day}.*/data.mdb")))


def mislead(path):
    """Every leaf page says that it has 32,000 entries, and that each lies behind its end."""
    with open(path, "r+b") as file:
        bytes_of = bytearray(file.read())
        for at in range(2 * PAGE, len(bytes_of) - PAGE + 1, PAGE):
            flags = int.from_bytes(bytes_of[at + 10:at + 12], "little")
            if flags == LEAF and int.from_bytes(bytes_of[at:at + 8], "little") == at // PAGE:
                bytes_of[at + 12:at + 14] = b"\xf0\xff"
                bytes_of[at + 16:at + PAGE] = b"\xfc" * (PAGE - 16)
        file.seek(0)
        file.write(bytes_of)


def ask(group, day):
    """(exit status, rows) of that day."""
    done = group.cli("query", "--from", f"{day}T00:00:00Z", "--to", f"{day}T23:59:59Z", "--agg", "count,sum",
                     "-o", "json")
    return done.returncode, json.loads(done.stdout)["rows"] if done.stdout.strip() else []


def condition(group):
    node = group.status()
    done = group.cli("scrub", "-o", "json")
    return node["damaged"], json.loads(done.stdout), done.returncode


def crashed():
    """kill -9, and the segment that was put last is not what was written."""
    with Cluster("--nodes", "1", "--partitions", "8", name="crashed") as group:
        for day in DAYS[:2]:
            group.good("simulate", "--batteries", "8", "--duration", "20m", "--start", f"{day}T06:00:00Z")
            group.good("settle")
        before = {day: ask(group, day) for day in DAYS[:2]}
        with case("after a kill: what was put last is read by another process first, and answers wait for it"):
            group.kill("n1")
            group.up()
            expect({day: ask(group, day) for day in DAYS[:2]} == before, "not as before")
            expect(group.status()["damaged"] == 0, "sound, and counted as damaged")
        with case("after a kill: a mangled newest segment is named, nothing of it is served, the rest is complete"):
            group.kill("n1")
            mislead(segments(group, DAYS[1])[0])
            group.up()
            pid = group.pid("n1")
            status, rows = ask(group, DAYS[1])
            expect(status == 3 and all(row in before[DAYS[1]][1] for row in rows), f"status {status}")
            expect(ask(group, DAYS[0]) == before[DAYS[0]], "the other day")
            group.wait("status counts it", lambda: group.status()["damaged"] > 0)
            expect(group.pid("n1") == pid, f"the node ended: {group.log('n1')[-800:]}")


def main():
    crashed()
    with Cluster("--nodes", "1", "--partitions", "8", name="damage") as group:
        for day in DAYS:
            group.good("simulate", "--batteries", "8", "--duration", "20m", "--start", f"{day}T06:00:00Z")
        group.good("settle")
        before = {day: ask(group, day) for day in DAYS}
        expect(all(status == 0 and rows for status, rows in before.values()), "the test wrote nothing")
        group.down()
        expect(all(len(segments(group, day)) == 1 for day in DAYS), "one segment a day")
        mislead(segments(group, DAYS[0])[0])
        os.truncate(segments(group, DAYS[1])[0], os.path.getsize(segments(group, DAYS[1])[0]) // 2 // PAGE * PAGE)
        group.up()
        for moment in ("met by a query", "known when the node starts"):
            pid = group.pid("n1")
            with case(f"damaged environments, {moment}: the node lives and answers name what is missing"):
                for day in DAYS[:2]:
                    status, rows = ask(group, day)
                    expect(status == 3, f"{day}: status {status}")
                    expect(all(row in before[day][1] for row in rows), f"{day}: wrong rows are served")
                expect(group.pid("n1") == pid, f"the node ended: {group.log('n1')[-800:]}")
            with case(f"damaged environments, {moment}: the rest is served, complete"):
                expect(ask(group, DAYS[2]) == before[DAYS[2]], "the third day")
            with case(f"damaged environments, {moment}: status and scrub name both"):
                damaged, answer, status = condition(group)
                named = " ".join(d["what"] for d in answer["damage"])
                expect(status == 1 and answer["damaged"] == 2, f"{status}: {answer}")
                expect(all(day in named for day in DAYS[:2]) and DAYS[2] not in named, named)
                group.wait("status counts both", lambda: group.status()["damaged"] == 2)
                expect(damaged <= 2 and group.pid("n1") == pid, "the node ended")
            with case(f"damaged environments, {moment}: new points of such a day are taken and sealed beside them"):
                time_ns = 1767225600 * 10**9 + 20 * 3600 * 10**9
                _, done = group.write(f"late,battery=late-{len(moment)} v=1 {time_ns}\n")
                expect(done.returncode == 0, done.stderr)
                group.good("settle")
                expect(len(segments(group, DAYS[0])) > 1, "no segment beside the damaged one")
            group.down()
            group.up()
    finish()


if __name__ == "__main__":
    main()
