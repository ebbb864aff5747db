#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Looking at the files of a stopped node: inspect and verify, sound and damaged, by exit status."""
import glob
import json
import os
import random
import shutil

import cluster
from cluster import Cluster, case, expect, run

FLIPS = int(os.environ.get("BB_FLIPS", "100"))


def verify(folder, *words, status=None):
    done = run("verify", folder, "--json", *words)
    expect(status is None or done.returncode == status,
           f"verify: status {done.returncode}, expected {status}: {done.stdout[-500:]}{done.stderr}")
    return done.returncode, json.loads(done.stdout) if done.stdout.startswith("{") and done.returncode < 2 else {}


def journals(data):
    return sorted(glob.glob(os.path.join(data, "store-*/journal/*.journal")))


def flip(path, offset, bit):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ (1 << bit)]))


def sound(data):
    with case("verify of a stopped node finds nothing and counts what is there"):
        _, answer = verify(data, status=0)
        totals = answer["totals"]
        expect(answer["findings"] == [] and totals["findings"] == 0, f"{answer['findings']}")
        expect(totals["stores"] == 1 and totals["batteries"] == 20 and totals["windows"] >= 1
               and totals["journal_files"] >= 1, f"{totals}")
    with case("one store's folder can be verified alone, and the text form says the same"):
        verify(glob.glob(os.path.join(data, "store-*"))[0], status=0)
        done = run("verify", data)
        expect(done.returncode == 0 and "windows" in done.stdout, done.stdout)
    with case("inspect journal names records, points and bytes; --records lists each record"):
        records = points = 0
        for path in journals(data):
            done = run("inspect", "journal", path, "--json", "--records")
            expect(done.returncode == 0, done.stderr)
            answer = json.loads(done.stdout)
            expect(len(answer["records"]) == answer["journal"]["records"], f"{answer['journal']}")
            expect(sum(r["points"] for r in answer["records"]) == answer["journal"]["points"], "points")
            records += answer["journal"]["records"]
            points += answer["journal"]["points"]
        expect(records > 0 and points > 0, f"{records} records, {points} points")
    with case("what is not there, or no journal, is status 2 and names the file"):
        for words in (["verify", data + "/none"], ["inspect", "journal", data + "/none"], ["inspect"],
                      ["inspect", "journal"], ["inspect", "nothing", data], ["verify", data, "--what"]):
            done = run(*words)
            expect(done.returncode == 2 and done.stderr, f"{words}: {done.returncode} {done.stderr}")
            expect(done.stdout == "" or words[0] == "verify", done.stdout)
        verify(os.path.dirname(data), status=2)


def in_use(group, data):
    with case("the folder of a running node is refused; --in-use checks it all the same"):
        status, _ = verify(data)
        expect(status == 2, f"status {status}")
        group.wait("a check in use", lambda: verify(data, "--in-use")[0] in (0, 1))


def flipped_journal(data, random_source):
    """Flips one bit at a time in what the node wrote; a detection is a finding, every time."""
    path = journals(data)[0]
    used = json.loads(run("inspect", "journal", path, "--json").stdout)["journal"]["end_bytes"]
    missed = []
    for _ in range(FLIPS):
        offset, bit = random_source.randrange(used), random_source.randrange(8)
        flip(path, offset, bit)
        before = run("inspect", "journal", path, "--json")
        after = json.loads(before.stdout) if before.returncode < 2 else {}
        # A flip in the last record makes a torn end, which shows as an earlier end.
        is_seen = before.returncode != 0 or after["journal"]["end_bytes"] < used
        if not is_seen:
            missed.append((offset, bit))
        flip(path, offset, bit)
    expect(not missed, f"{len(missed)} of {FLIPS} flips were not seen: {missed[:5]}")
    verify(data, status=0)


def damaged(data, random_source):
    with case(f"each of {FLIPS} flipped bits of a journal is detected"):
        flipped_journal(data, random_source)
    with case("a truncated busbar.store, a journal of another node, a removed window: named, status 1"):
        copy = data + ".copy"
        shutil.copytree(data, copy)
        store = glob.glob(os.path.join(copy, "store-*"))[0]
        window = sorted(glob.glob(os.path.join(store, "windows/*/*")))[0]
        shutil.rmtree(window)
        _, answer = verify(copy, status=1)
        expect(any("missing" in f["what"] and "windows/" in f["where"] for f in answer["findings"]),
               f"{answer['findings']}")
        with open(os.path.join(store, "busbar.store"), "r+b") as file:
            file.truncate(100)
        _, answer = verify(copy, status=1)
        expect(any(f["where"].endswith("busbar.store") for f in answer["findings"]), f"{answer['findings']}")
        shutil.rmtree(copy)
    with case("an environment cut short or with a zeroed page is a finding, never a crash"):
        copy = data + ".copy"
        for damage in ("cut", "zero", "page"):
            shutil.copytree(data, copy)
            path = sorted(glob.glob(os.path.join(copy, "store-*/windows/*/*/data.mdb")))[0]
            size = os.path.getsize(path)
            with open(path, "r+b") as file:
                if damage == "cut":
                    file.truncate(size // 2)
                elif damage == "zero":
                    file.seek(0)
                    file.write(bytes(8192))
                else:
                    for page in range(2, size // 4096):
                        file.seek(page * 4096)
                        file.write(bytes(4096))
            status, answer = verify(copy)
            expect(status == 1 and answer["findings"], f"{damage}: status {status}: {answer}")
            shutil.rmtree(copy)


def maps(data):
    return sorted(glob.glob(os.path.join(data, "store-*/windows/*/*/data.mdb")))


def segments(data):
    with case("inspect segment and window: bytes, bits a value and statistics per encoding and column"):
        folder = os.path.dirname(maps(data)[0])
        done = run("inspect", "segment", folder, "--json")
        expect(done.returncode == 0, f"{done.returncode}: {done.stderr}")
        one = json.loads(done.stdout)
        done = run("inspect", "window", folder.rsplit(".", 1)[0], "--json")
        expect(done.returncode == 0, f"{done.returncode}: {done.stderr}")
        day = json.loads(done.stdout)
        expect(day["segments"]["points"] >= one["segments"]["points"] > 0, f"{day['segments']}")
        values = sum(column["values"] for column in day["columns"])
        expect(values == day["segments"]["points"], f"{values} values, {day['segments']['points']} points")
        expect(all(c["bits_per_value"] <= 66 for c in day["columns"]) and len(day["encodings"]) > 1, f"{day['encodings']}")
        expect(run("inspect", "window", folder).returncode == 2, "a segment is not a day")


def flips(data, files, random_source):
    """Flips one bit of one of the files, FLIPS times: where, and what `verify` says of it."""
    for _ in range(FLIPS):
        path = random_source.choice(files)
        offset, bit = random_source.randrange(os.path.getsize(path)), random_source.randrange(8)
        flip(path, offset, bit)
        status, answer = verify(data)
        flip(path, offset, bit)
        yield (path, offset, bit), status, answer


def flipped_map(data, random_source):
    """One bit of a segment's file at a time: a finding, or nothing that counts has changed."""
    with case(f"each of {FLIPS} flipped bits of a segment's file is detected, or lies where nothing is"):
        _, sound_answer = verify(data, status=0)
        missed = [(place, status) for place, status, answer in flips(data, maps(data), random_source)
                  if status != 1 and not (status == 0 and answer["totals"] == sound_answer["totals"])]
        expect(not missed, f"{len(missed)} were not seen: {missed[:3]}")
        verify(data, status=0)


def flipped_meta(data, random_source):
    """One bit of the meta map at a time: a finding, or nothing that counts has changed."""
    with case(f"each of {FLIPS} flipped bits of a meta map is detected, or lies where nothing is"):
        files = sorted(glob.glob(os.path.join(data, "store-*/meta/data.mdb")))
        _, sound_answer = verify(data, status=0)
        missed = [(place, status) for place, status, answer in flips(data, files, random_source)
                  if status != 1 and not (status == 0 and answer["totals"] == sound_answer["totals"])]
        expect(not missed, f"{len(missed)} were not seen: {missed[:3]}")
        verify(data, status=0)
    with case(f"each of {FLIPS} flipped bits of busbar.store is detected"):
        files = sorted(glob.glob(os.path.join(data, "store-*/busbar.store")))
        missed = [place for place, status, _ in flips(data, files, random_source) if status == 0]
        expect(not missed, f"{len(missed)} were not seen: {missed[:5]}")
        verify(data, status=0)


def scrubbed(group, random_source):
    with case("scrub of sound nodes: status 0, and bytes that were verified"):
        done = group.cli("scrub", "-o", "json")
        answer = json.loads(done.stdout)
        expect(done.returncode == 0 and answer["damaged"] == 0 and answer["verified_bytes"] > 0, f"{done}")
        expect(group.status()["damaged"] == 0, "status")
    with case("a damaged run is named by scrub and status, survives a restart, and makes answers partial"):
        before = group.json("query", *cluster.EVER, "--agg", "count", "--consistency", "one")
        group.kill("n1")
        group.kill("n2")
        for node in ("n1", "n2"):  # both, so that no replica can hide it
            path = max(maps(group.path(node, "data")), key=os.path.getsize)
            with open(path, "rb") as file:
                bytes_of = file.read()
            at = bytes_of.index(b"BBP2")
            entries = int.from_bytes(bytes_of[at + 12:at + 16], "little")
            first = int.from_bytes(bytes_of[at + 28 + 4 * entries:at + 32 + 4 * entries], "little")
            flip(path, at + first + 60, random_source.randrange(8))
        group.up()
        group.wait_in_step()
        for _ in range(2):
            done = group.cli("scrub", "-o", "json")
            answer = json.loads(done.stdout)
            expect(done.returncode == 1 and answer["damaged"] >= 2, f"{done.returncode}: {answer}")
            expect(all("battery" in d["what"] and "2026-01" in d["what"] for d in answer["damage"]), f"{answer}")
            expect(group.status()["damaged"] >= 2, "status does not count it")
            done = group.cli("query", *cluster.EVER, "--agg", "count", "--consistency", "one", "-o", "json")
            after = json.loads(done.stdout)
            expect(done.returncode == 3 and not after["complete"], f"status {done.returncode}")
            whole = {tuple(r[:3]): r for r in before["rows"]}
            wrong = [r for r in after["rows"] if whole.get(tuple(r[:3])) != r]
            column = after["columns"].index("count")
            expect(all(r[column] < whole[tuple(r[:3])][column] for r in wrong), f"served wrong: {wrong[:2]}")
            group.down()
            group.up()
            group.wait_in_step()


def foreign(first, second):
    with case("a journal of another node is named, and nothing of it is taken"):
        path = journals(first)[0]
        name = os.path.join(os.path.dirname(path), "000000000999.journal")
        shutil.copyfile(journals(second)[0], name)
        _, answer = verify(first, status=1)
        expect(any("another store" in f["what"] for f in answer["findings"]), f"{answer['findings']}")
        os.remove(name)
        verify(first, status=0)


def main():
    random_source = random.Random(int(os.environ.get("BB_SEED", "1")))
    with Cluster("--nodes", "2", "--partitions", "8", name="inspect") as group:
        group.good("simulate", "--batteries", "20", "--duration", "30m")
        group.good("settle")
        group.good("simulate", "--batteries", "20", "--duration", "10m", "--start", "2026-01-02T00:00:00Z")
        data = group.path("n1", "data")
        in_use(group, data)
        group.down()
        sound(data)
        damaged(data, random_source)
        segments(data)
        flipped_map(data, random_source)
        flipped_meta(data, random_source)
        foreign(data, group.path("n2", "data"))
        with case("a node starts again on what was verified, and has every point"):
            group.up()
            group.wait_in_step()
            expect(group.count() > 0, "no points")
        scrubbed(group, random_source)
    cluster.finish()


if __name__ == "__main__":
    main()
