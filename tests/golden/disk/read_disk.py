#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads the golden files of the disk formats with disk_format.py, which is storage/FORMAT.md as a
program and shares no code with ours, and compares them with what they are known to hold: values
from their definitions or from the text beside them. Prints `N passed, M failed`.
"""
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import disk_format as disk  # noqa: E402

S = 10**9
T0 = 1767225600 * S


def load(name):
    with open(os.path.join(HERE, name), "rb") as file:
        return file.read()


def entries_of(data, at=0, prefix=0):
    """Keys and values as the golden files hold maps."""
    while at < len(data):
        head = data[at:at + prefix]
        key, value = struct.unpack_from("<II", data, at + prefix)
        begin = at + prefix + 8
        yield (*head, data[begin:begin + key], data[begin + key:begin + key + value])
        at = begin + key + value


def encodings():
    data = load("encodings_v2.bin")
    count = disk.u32(data, 0)
    at, seen = 4, set()

    def words():
        nonlocal at
        at += 8 * count
        return list(struct.unpack_from(f"<{count}Q", data, at - 8 * count))

    peers = [words(), words()]
    while at < len(data):
        encoding, kind, length = data[at], data[at + 1], disk.u32(data, at + 4)
        block = data[at + 8:at + 8 + length]
        at += 8 + length
        assert disk.decode(encoding, block, count, kind == 2, peers) == words(), f"encoding {encoding}"
        seen.add(encoding)
    assert seen == {1, 2, *range(8, 17)}, f"{seen}"


def run():
    found = disk.Run(load("run_v2.bin"))
    assert found.revision == 42
    columns = {metric: values for metric, _, values in found.columns}
    for row in range(1100):
        noise = row * 2654435761 % 2**32 >> 24
        time = T0 + row * S + (3600 * S if row >= 500 else 0) + (noise % 5 * 10**6 if row % 7 == 0 else 0)
        assert columns[0][time] == disk.bits_of(48.0)
        if row not in (17, 900):
            assert columns[3][time] == disk.bits_of((3600 + noise) / 1000.0)
        assert columns[6].get(time) == (None if row % 3 == 1 else disk.bits_of((-17 + noise % 40) / 10.0))
        assert columns[9][time] == disk.bits_of((700 * row + noise % 4) / 100.0)
        assert columns[12][time] == (row * row * 500 - 7) % 2**64
        assert columns[15][time] == disk.bits_of(1.0 / (row + 3)) * 0x9e3779b97f4a7c15 % 2**64
        assert columns[21][time] == row // 100 % 2
        assert columns[27][time] == row * 1000 + noise % 3 * 100
    assert columns[3][T0 + 17 * S] == 2**63  # -0.0


def segment():
    expected = {}
    for line in load("segment_v2.txt").split(b"\n")[:-1]:
        partition, battery, revision, metric, kind, time, word = line.split(b" ", 6)
        value = word if int(kind) == disk.STATE else int(word, 16)
        place = (int(partition), int(battery), int(revision))
        expected.setdefault(place, {})[int(metric), int(kind), int(time)] = value
    found, encodings = {}, set()
    for partition, battery, one in disk.read_segment(entries_of(load("segment_v2.bin"))):
        encodings.update(one.encodings)
        found[partition, battery, one.revision] = {
            (metric, kind, time): value for metric, kind, values in one.columns for time, value in values.items()}
    assert found.keys() == expected.keys(), f"{found.keys()}"
    for place, points in expected.items():
        assert found[place] == points, f"{place}: {len(found[place])} points, expected {len(points)}"
    assert len(encodings) >= 6, f"{encodings}"


def segment_damage():
    """What FORMAT.md says a reader notices is noticed."""
    data = list(entries_of(load("segment_v2.bin")))
    for _ in disk.read_segment(data):
        pass
    key, value = data[-1]
    for at in range(0, len(value), max(1, len(value) // 60)):
        bad = bytearray(value)
        bad[at] ^= 1 << at % 8
        try:
            for _ in disk.read_segment(data[:-1] + [(key, bytes(bad))]):
                pass
        except (disk.Damage, struct.error, IndexError, ZeroDivisionError, OverflowError, ValueError):
            continue
        assert at >= len(value) - 4, f"a flipped bit at {at} was not seen"  # padding behind the last run


def journal():
    header, records = disk.read_journal(load("journal_v2.bin"))
    assert header["file_seq"] == 1 and header["base_seq"] == 1
    assert len(records) == 3
    for index, (_, _, chunks, batch) in zip((0, 4, 5), records):
        assert chunks["stream"][0] == 1 + index % 2 and chunks["epoch"] == 1 and chunks["origin"] == T0
        parts = 1 + index % 3
        assert chunks["seqs"] == [index + 1] * parts and chunks["quarantined"] == []
        assert batch["parts"] == [index % 5 + part for part in range(parts)]
        expected = []
        for part in range(parts):
            for i in range(1 + index % 4):
                time = T0 + ((index + 1) * 3600 + i) * S
                where = (index % 5 + part, f"battery-{index % 5 + part}")
                expected.append((*where, "mode", disk.STATE, time, "Idle" if i % 2 else "Charging"))
                expected.append((*where, "state_of_charge_pct", disk.FLOAT64, time,
                                 disk.bits_of(50.0 + index + 1 + i / 8.0)))
        assert batch["points"] == expected, f"{batch['points']}"


def store():
    data = load("store_v2.bin")
    assert data[0:4] == b"BBST" and disk.u32(data, 4) == 2
    assert disk.crc32c(data[0:124]) == disk.u32(data, 124)
    assert data[8:24] == b"test-cluster-001" and data[40:40 + disk.u32(data, 36)] == b"n1"
    assert struct.unpack_from("<III", data, 24) == (0, 1, 8)
    maps = {}
    for which, key, value in entries_of(data, 128, 1):
        maps.setdefault(which, []).append((key, value))
    meta = disk.read_records(maps[0])
    for index, (key, record) in enumerate(maps[0]):
        bad = bytearray(key + record)
        bad[index % len(bad)] ^= 1 << index % 8
        try:
            disk.read_records([(bytes(bad[:len(key)]), bytes(bad[len(key):]))])
        except disk.Damage:
            continue
        assert False, f"a flipped bit of {key!r} was not seen"
    assert struct.unpack("<IIQ", meta[b"C"])[0] == 2
    metrics = [value for key, value in sorted(meta.items()) if key[:1] == b"M"]
    assert len(metrics) == 4, f"{metrics}"
    batteries = [value for key, value in sorted(meta.items()) if key[:1] == b"N"]
    assert len(batteries) == 2
    for record in batteries:
        types, attributes = disk.u32(record, 4), disk.u32(record, 8)
        assert len(record) == 12 + 4 * types + record[2] + attributes
    points = sum(one.points for which in (1, 2) for _, _, one in disk.read_segment(maps[which]))
    assert points == 3 * 4, f"{points}"
    windows = [value for key, value in meta.items() if key[:1] == b"W"]
    counted = sum(disk.u64(value, 16 + 72 * i + 48) for value in windows for i in range(disk.u32(value, 8)))
    assert len(windows) == 2 and counted == 12, f"{counted}"


def main():
    passed = failed = 0
    for check in (encodings, run, segment, segment_damage, journal, store):
        try:
            check()
            passed += 1
        except Exception as error:  # a reader that breaks has failed
            failed += 1
            print(f"{check.__name__}: {type(error).__name__}: {error} (line {error.__traceback__.tb_next.tb_lineno})")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
