#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads the golden messages with the FlatBuffers package for Python: another implementation of the
format, which shares no code with ours. Field numbers and types come from protocol/schemas/*.fbs;
the expected values are written here by hand. Prints `N passed, M failed`.

With a file as argument, prints what is in it as JSON instead.
"""
import json
import os
import re
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SCHEMAS = os.path.join(HERE, "..", "..", "..", "protocol", "schemas")

try:
    from flatbuffers import encode, number_types as N
    from flatbuffers.table import Table
except ImportError:
    print("skip - python3-flatbuffers is not installed")
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

SCALARS = {
    "bool": ("?", 1), "ubyte": ("<B", 1), "uint8": ("<B", 1), "ushort": ("<H", 2), "uint16": ("<H", 2),
    "int": ("<i", 4), "int32": ("<i", 4), "uint": ("<I", 4), "uint32": ("<I", 4), "long": ("<q", 8),
    "int64": ("<q", 8), "ulong": ("<Q", 8), "uint64": ("<Q", 8), "double": ("<d", 8),
}


class Schema:
    """Tables, structs, enums and unions of one .fbs file, as far as ours use the language."""

    def __init__(self, name):
        with open(os.path.join(SCHEMAS, name + ".fbs"), encoding="utf-8") as file:
            text = re.sub(r"//[^\n]*", "", file.read())
        self.tables, self.structs, self.enums, self.unions = {}, {}, {}, {}
        for kind, word, body in re.findall(r"\b(table|struct|enum|union)\s+([\w]+)[^{]*\{(.*?)\}", text, re.S):
            if kind == "enum":
                self.enums[word] = {int(v): k for k, v in re.findall(r"(\w+)\s*=\s*(\d+)", body)}
            elif kind == "union":
                self.unions[word] = re.findall(r"\w+", body)
            else:
                fields = re.findall(r"(\w+)\s*:\s*([\w\[\]:]+)", body)
                (self.tables if kind == "table" else self.structs)[word] = fields
        self.root = re.search(r"root_type\s+(\w+)", text).group(1)
        self.identifier = re.search(r'file_identifier\s+"(\w+)"', text).group(1)

    def struct_size(self, name):
        size, align = 0, 1
        for _, kind in self.structs[name]:
            array = re.fullmatch(r"\[(\w+):(\d+)\]", kind)
            width = SCALARS[array.group(1) if array else kind][1]
            size = (size + width - 1) // width * width + width * (int(array.group(2)) if array else 1)
            align = max(align, width)
        return (size + align - 1) // align * align

    def read_struct(self, buffer, at, name):
        out, offset = {}, 0
        for field, kind in self.structs[name]:
            array = re.fullmatch(r"\[(\w+):(\d+)\]", kind)
            form, width = SCALARS[array.group(1) if array else kind]
            offset = (offset + width - 1) // width * width
            count = int(array.group(2)) if array else 1
            values = [struct.unpack_from(form, buffer, at + offset + width * i)[0] for i in range(count)]
            out[field] = bytes(values).hex() if array else values[0]
            offset += width * count
        return out

    def read_vector(self, table, offset, kind):
        start, count = table.Vector(offset), table.VectorLen(offset)
        if kind in ("ubyte", "uint8"):
            return bytes(table.Bytes[start:start + count])
        if kind in SCALARS:
            form, width = SCALARS[kind]
            if start % width:
                raise ValueError("a vector is not aligned")
            return [struct.unpack_from(form, table.Bytes, start + width * i)[0] for i in range(count)]
        if kind in self.structs:
            size = self.struct_size(kind)
            return [self.read_struct(table.Bytes, start + size * i, kind) for i in range(count)]
        if kind == "string":
            return [table.String(start + 4 * i).decode() for i in range(count)]
        return [self.read_table(table.Bytes, table.Indirect(start + 4 * i), kind) for i in range(count)]

    def read_table(self, buffer, at, name):
        table, out, slot, union_type = Table(buffer, at), {}, 4, 0
        for field, kind in self.tables[name]:
            if kind in self.unions:  # a union takes two fields: its type, then its value
                offset = table.Offset(slot)
                union_type = table.Get(N.Uint8Flags, at + offset) if offset else 0
                slot += 2
            offset = table.Offset(slot)
            slot += 2
            vector = re.fullmatch(r"\[(\w+)\]", kind)
            if kind in self.unions:
                if offset:
                    target = at + offset + encode.Get(N.UOffsetTFlags.packer_type, buffer, at + offset)
                    out[field] = self.read_table(buffer, target, self.unions[kind][union_type - 1])
            elif vector:
                absent = b"" if vector.group(1) in ("ubyte", "uint8") else []
                out[field] = self.read_vector(table, offset, vector.group(1)) if offset else absent
            elif kind == "string":
                out[field] = table.String(at + offset).decode() if offset else ""
            elif kind in self.enums:
                out[field] = self.enums[kind][table.Get(N.Uint8Flags, at + offset) if offset else 0]
            elif kind in self.structs:
                out[field] = self.read_struct(buffer, at + offset, kind) if offset else None
            elif kind in self.tables:
                out[field] = self.read_table(buffer, table.Indirect(at + offset), kind) if offset else None
            else:
                absent = False if kind == "bool" else 0
                out[field] = struct.unpack_from(SCALARS[kind][0], buffer, at + offset)[0] if offset else absent
        return out

    def read(self, path):
        with open(path, "rb") as file:
            buffer = bytearray(file.read())
        if bytes(buffer[4:8]).decode() != self.identifier:
            raise ValueError(f"identifier {bytes(buffer[4:8])}, expected {self.identifier}")
        return self.read_table(buffer, encode.Get(N.UOffsetTFlags.packer_type, buffer, 0), self.root)


def hexed(prefix, count):
    """`count` bytes: the ones given, then zeros."""
    return {"bytes": bytes(prefix + [0] * (count - len(prefix))).hex()}


def message(kind, body=None):
    expected = {"version": 1, "kind": kind, "epoch": 3, "request_id": 0x1122334455667788, "trace_id": 99,
                "timeout_ns": 5_000_000_000, "credit_bytes": 0}
    return expected | ({"body": body} if body is not None else {})


MINUS_SEVEN = 2**64 - 7
ENTRIES = [{"partition": 11, "have": b"0123456789abcdef"}, {"partition": 12, "have": b""}]

EXPECTED = {
    "batch": {
        "version": 2, "generation": 0, "revision": 0x0102030405060708,
        "part_count": 2, "run_count": 4, "frame_count": 6, "battery_count": 3,
        "battery_ids": "Zelle Äb-1b-2".encode(),
        "batteries": [
            {"battery": 1, "attributes": [{"key": "site", "value": "Aachen"},
                                          {"key": "hersteller", "value": "Für & Söhne"}]},
            {"battery": 2, "attributes": [{"key": "site", "value": "Aachen"}]},
        ],
        "shapes": [{"names": ["cycles", "on", "power_kw", "state"], "types": b"\x02\x03\x01\x04"},
                   {"names": ["power_kw"], "types": b"\x01"}],
        "states": ["Idle", "", "Laden ⚡"],
        "columns": {
            "parts": [(3, 1), (700, 3)],  # partition, runs
            "runs": [(0, 1, 2), (1, 0, 2), (1, 1, 1), (2, 0, 1)],  # battery, shape, frames
            "id_lengths": [8, 3, 3],
            "times_wall_ns": [0, 1, 1767225600000000000, 1767225600000000001, 9214646399999999999,
                              1767225610000000000],
            "values": [  # shape by shape, metric by metric; frames of b-1, b-1, b-2
                [[MINUS_SEVEN, 2**63 - 1, 2**63], [1, 0, 1], [0x8000000000000000, 0x3FD5555555555555, 0],
                 [0, 2, 1]],
                # Zelle Ä: a NaN with a payload, the smallest number; b-1: -infinity
                [[0x7FF8DEAD0000BEEF, 1, 0xFFF0000000000000]]],
        },
    },
    "chunks": {
        "version": 2, "epoch": 7, "origin_wall_ns": 1767225600123456789,
        "stream": bytes(0x11 * i for i in range(16)), "seqs": [], "quarantined": [0, 3, 5],
        "seq_base": 1, "seq_bytes": 8, "seq_offsets": struct.pack("<QQ", 0, 0xFEDCBA9876543210 - 1),
    },
    "chunks_v1": {  # in journals of earlier versions
        "version": 1, "epoch": 7, "origin_wall_ns": 1767225600123456789,
        "stream": bytes(0x11 * i for i in range(16)), "seqs": [1, 0xFEDCBA9876543210],
        "quarantined": [0, 3, 5], "seq_base": 0, "seq_bytes": 0, "seq_offsets": b"",
    },
    "message_hello": message("HELLO", {"client_name": "busbar/0.1.0", "only_routes": True}),
    "message_routes": message("ROUTES", {"slow": [0, 7, 255]}),
    "message_hello_reply": message("HELLO_REPLY", {
        "cluster_name": "demo", "cluster_id": hexed([0xCA, 0xFE, 1], 16), "node_id": "n1", "partition_count": 4,
        "placement_key": hexed([7, 7, 9], 16),
        "nodes": [{"id": "n1", "dc": "dc1", "rack": "r1", "client_endpoint": "tcp://127.0.0.1:7711",
                   "public_key": hexed([1, 2, 3, 31], 32), "weight": 100},
                  {"id": "n2", "dc": "dc2", "rack": "", "client_endpoint": "tcp://127.0.0.2:7711",
                   "public_key": hexed([9], 32), "weight": 50}],
        "replica_stride": 2, "replicas": [0, 1, 1, 0, 0, 65535, 1, 65535],
        "default_write_level": 4, "default_read_level": 1}),
    "message_write": message("WRITE", {"level": 5, "wants_session": False,
                                       "deletes": False}),
    "message_write_reply": message("WRITE_REPLY", {
        "acked_points": 1200, "rejected_points": 13, "quarantined_points": 2, "acked_frames": 100,
        "rejected_frames": 1,
        "rejections": [{"frame": 7, "metric": "state", "error": 6, "detail": "metric 'state' is float64"},
                       {"frame": 2**32 - 1, "metric": "", "error": 4, "detail": ""}],
        "session": b""}),
    "message_query": message("QUERY", {
        "mode": 2, "level": 2, "from_wall_ns": 1000, "to_wall_ns": 9214646400000000000,
        "every_ns": 60_000_000_000, "aggregates": 0x41, "group_by_none": True, "partitions": [0, 5, 16383],
        "batteries": ["bat-1", "bät-2"], "metrics": ["voltage_v", "current_a", "soc"], "row_limit": 12345,
        "page_bytes_max": 65536, "cursor": b"\0cursor\xff", "compare": 0, "threshold": 0.0, "accepts_rows": False,
        "rollup": "", "session": b"", "wants_session": False, "is_hedge": False}),
    "message_result": message("RESULT", {
        "missing": [{"partition": 4, "error": 45}, {"partition": 9, "error": 41}], "cursor": b"go on here",
        "damaged_window_count": 6, "session": b""}),
    "message_status": message("STATUS"),
    "message_status_reply": message("STATUS_REPLY", {
        "cluster_name": "demo", "node_id": "n1", "version": "0.1.0", "ready": True, "draining": True,
        "partition_count": 1024, "under_replicated": 5, "uptime_ns": 1, "points_total": 2, "batteries_total": 3,
        "head_bytes": 4, "journal_bytes": 5, "segment_bytes": 6, "segment_points": 7, "unsealed_chunks": 8,
        "untrimmed_chunks": 9, "runs_to_merge": 10, "quarantined_points": 11,
        "nodes": [{"node_id": "n1", "dc": "dc1", "up": True, "is_self": True, "lag_chunks": 0,
                   "dc_lag_chunks": 0, "dc_lag_ns": 0, "is_slow": False},
                  {"node_id": "n2", "dc": "dc1", "up": False, "is_self": False, "lag_chunks": 2**40,
                   "dc_lag_chunks": 13, "dc_lag_ns": 2**50, "is_slow": True}],
        "damage_count": 12, "standing": 0, "boot": 0, "default_write_level": 3, "default_read_level": 5,
        "unequal": 6, "streams": 1000, "streams_dead": 997}),
    "message_settle": message("SETTLE"),
    "message_settle_reply": message("SETTLE_REPLY", {"sealed": True, "merged": False, "trimmed": True}),
    "message_release": message("RELEASE", {"batteries": ["bat-1", "bät-2"], "level": 1}),
    "message_release_reply": message("RELEASE_REPLY", {"released_points": 44}),
    "message_scrub": message("SCRUB", {"start": True, "rate_bytes_per_s": 2**64 - 1}),
    "message_scrub_reply": message("SCRUB_REPLY", {
        "is_running": True, "windows_left": 1, "findings": 2, "bytes_total": 3, "findings_total": 4,
        "oldest_age_ns": 5, "barred_count": 6, "damage_count": 7, "damage_lines": ["bat-1", "bät-2"]}),
    "message_error": message("ERROR", {"code": 40, "detail": "1 GiB in flight", "retry_after_ms": 250}),
    "message_heartbeat": message("HEARTBEAT", {
        "incarnation": hexed([1, 2, 3], 16), "wall_ns": 1700000000123456789, "cluster_id": hexed([8, 9], 16),
        "ready": True, "draining": True, "store_count": 3, "registry_digest": 2**64 - 2,
        "standing": 0, "boot": 0, "sync_latency_us": 4711, "have_mark": 0xABCDEF0123456789}),
    "message_replicate": message("REPLICATE", {"forward": [0, 7, 255]}),
    "message_replicate_ack": message("REPLICATE_ACK", {
        "stream": hexed([5], 16), "incarnation": hexed([6], 16),
        "ranges": [{"partition": 3, "reserved": 0, "first_seq": 1, "last_seq": 2**64 - 1},
                   {"partition": 1023, "reserved": 0, "first_seq": 77, "last_seq": 77}],
        "batches": [{"partition": 3, "part_count": 300, "seq": 41, "dot_sum": 0xFEDCBA9876543210},
                    {"partition": 1018, "part_count": 1, "seq": 2**64 - 1, "dot_sum": 1}],
        "lane": {"count": 7, "index": 3}}),
    "message_have_request": message("HAVE_REQUEST", {
        "incarnation": hexed([4], 16), "since_version": 71, "lane": {"count": 4032, "index": 4031},
        "takes_tails": True}),
    "message_have": message("HAVE", {
        "incarnation": hexed([4], 16), "version": 72, "since_version": 71, "is_last": True, "lane": {"count": 6, "index": 2},
        "entries": ENTRIES, "tail_streams": b"0123456789abcdef", "tails": b"\0\1\2",
        "sealed_below": 4711}),
    "message_pull": message("PULL", {
        "budget_bytes": 4 << 20, "lane": {"count": 1, "index": 0}, "entries": ENTRIES,
        "forgotten": [7, 1, 8, 0xffffffff]}),
    "message_pull_done": message("PULL_DONE", {
        "more": True, "lane": {"count": 2, "index": 1}, "chunk_count": 10, "unavailable": [17, 3]}),
    "message_watched": message("WATCHED", {"lane": {"count": 6, "index": 5}, "entries": ENTRIES}),
    "message_registry": message("REGISTRY", {
        "is_put": True, "buckets": [1, 2**64 - 1, 3] + [0] * 253,
        "entries": [{"kind": 1, "key": b"n1", "number": 9, "payload": b"disk"},
                    {"kind": 5, "key": b"topology", "number": 2**64 - 1, "payload": b""}]}),
    "message_sync_ask": message("SYNC_ASK", {
        "step": 3, "partition": 1023, "window": {"kind": 1, "day": 20454}, "buckets": hexed([1, 2] + [0] * 29 + [128], 32),
        "leaves": [{"battery": 7, "low": 1, "high": 2}, {"battery": 200, "low": 2**64 - 1, "high": 3}],
        "battery_first": "b17", "from_wall_ns": 1767225600000000001}),
    "message_sync_answer": message("SYNC_ANSWER", {
        "step": 2, "partition": 17, "window": {"kind": 0, "day": 1}, "incarnation": hexed([9], 16), "error": 40,
        "windows": [{"kind": 0, "day": 20454}, {"kind": 1, "day": 20454}, {"kind": 2, "day": 0}],
        "leaves": [{"battery": 7, "low": 1, "high": 2}, {"battery": 200, "low": 2**64 - 1, "high": 3}],
        "batches": [{"bytes": b"first"}, {"bytes": b"second batch"}], "pairs": [], "has_more": True, "battery_next": "b99",
        "from_next_wall_ns": 12}),
}


def schema_of(name):
    return name.split("_")[0] if name.startswith(("message_", "page_", "chunks_")) else name


def differences(found, expected, where=""):
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(set(found) | set(expected)):
            if key not in found or key not in expected:
                yield f"{where}.{key}: only {'expected' if key in expected else 'found'}"
            else:
                yield from differences(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(found) == len(expected):
        for i, pair in enumerate(zip(found, expected)):
            yield from differences(*pair, f"{where}[{i}]")
    elif found != expected or isinstance(found, bool) != isinstance(expected, bool):
        yield f"{where}: found {found!r}, expected {expected!r}"


def read_column(data, at, count):
    """One packed column, see protocol/bb_column.h: its words, and where the next one begins."""
    encoding, width, exponent, flags, exception_count = struct.unpack_from("<BBBBI", data, at)
    at += 8
    base, scale = 0, 1
    if encoding != 1:
        base = struct.unpack_from("<Q", data, at)[0]
        at += 8
    if flags & 1:
        scale = struct.unpack_from("<Q", data, at)[0]
        at += 8
    packed = (count * width + 63) // 64 * 8
    stream = int.from_bytes(data[at:at + packed], "little")
    integers = [stream >> (i * width) & ((1 << width) - 1) for i in range(count)]
    at += packed
    if encoding == 3:
        signed = [(base + k + 2**63) % 2**64 - 2**63 for k in integers]
        words = [struct.unpack("<Q", struct.pack("<d", k / 10**exponent))[0] for k in signed]
    else:
        words = [(base + scale * k) % 2**64 for k in integers]
    exceptions = struct.unpack_from(f"<{exception_count}Q", data, at)
    at += 8 * exception_count
    for position, word in zip(struct.unpack_from(f"<{exception_count}I", data, at), exceptions):
        words[position] = word
    return words, at + (4 * exception_count + 7) // 8 * 8


def read_batch(schema, path):
    """A batch with its columns unpacked, see protocol/bb_batch.h."""
    batch = schema.read(path)
    data, at, found = struct.pack(f"<{len(batch['columns'])}Q", *batch["columns"]), 0, []

    def next_columns(columns, count):
        nonlocal at
        out = []
        for _ in range(columns):
            words, at = read_column(data, at, count)
            out.append(words)
        return out

    parts = list(zip(*next_columns(2, batch["part_count"])))
    runs = list(zip(*next_columns(3, batch["run_count"])))
    lengths, = next_columns(1, batch["battery_count"])
    times, = next_columns(1, batch["frame_count"])
    for number, shape in enumerate(batch["shapes"]):
        frames = sum(count for _, s, count in runs if s == number)
        found.append(next_columns(len(shape["names"]), frames))
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes of columns are left over")
    batch["columns"] = {"parts": parts, "runs": runs, "id_lengths": lengths, "times_wall_ns": times,
                        "values": found}
    return batch


def check_page(schema, path):
    """The page's series by their form: see s_build() of test_bb_query.c."""
    page = schema.read(path)
    states = page["states"]
    series = {(s["battery"], s["metric"], s["type"]): s for s in page["series"]}
    times = [0, 1700000000000000001, 9214646400000000000 - 1]
    yield from differences(sorted(series), sorted(
        [("b1", "power_kw", 1), ("b1", "state", 4), ("b2", "on", 3), ("b2", "power_kw", 2), ("", "state", 4),
         ("b3", "", 0), ("b4", "", 0)]), "series")
    floats = series["b1", "power_kw", 1]
    yield from differences(floats["times_wall_ns"], times, "times")
    yield from differences(floats["values"], [2**63, 0x7FF8000000000123, 0x400D70A3D70A3D71], "floats")
    yield from differences([states[v] for v in series["b1", "state", 4]["values"]],
                           ["Idle", "Charging", "Idle"], "states")
    yield from differences(series["b2", "on", 3]["values"], [0, 1, 1], "bools")
    minus = 2**64 - 1
    bucket = {"start_wall_ns": 0, "count": 2, "sum_low": 2**64 - 2_500_000_000, "sum_middle": minus, "sum_high": minus,
              "min": 1, "max": 2, "first_wall_ns": 5, "last_wall_ns": 6, "first": 3, "last": 4}
    yield from differences(series["b2", "power_kw", 2]["buckets"], [
        bucket, {"start_wall_ns": 60, "count": 1, "sum_low": 70_000_000_000, "sum_middle": 0, "sum_high": 0, "min": 7,
                 "max": 7, "first_wall_ns": 61, "last_wall_ns": 61, "first": 7, "last": 7}], "buckets")
    # -0.25, and of binary fractions 5 x 2^0 and (7 - 2^64) x 2^64
    rest = {"row": 0, "flags": 8, "top": 18, "zero": 0, "low_low": 0, "low_high": 0, "middle_low": 5, "middle_high": 0,
            "high_low": 7, "high_high": minus}
    yield from differences(series["b2", "power_kw", 2]["sums"], [rest], "sums")
    yield from differences(series["", "state", 4]["sums"], [rest], "sums of states")
    texts = [{k: states[b[k]] for k in ("min", "max", "first", "last")} for b in series["", "state", 4]["buckets"]]
    yield from differences(texts, [{"min": "Charging", "max": "Idle", "first": "", "last": "Idle"}], "state buckets")
    yield from differences(series["b3", "", 0]["attributes"],
                           [{"key": "site", "value": "Aachen"}, {"key": "note", "value": ""}], "attributes")


def check_page_rows(schema, path):
    """The page's rows: see s_build() of test_bb_page_builder.c."""
    page = schema.read(path)
    rows = page["rows"]
    ids, ends = bytes(rows["battery_ids"]), list(rows["battery_ends"])
    batteries = [ids[begin:end].decode() for begin, end in zip([0, *ends], ends)]
    kinds = list(zip(rows["metrics"], rows["types"]))
    found = [(batteries[b], *kinds[k], t, v) for b, k, t, v in
             zip(rows["batteries"], rows["kinds"], rows["times_wall_ns"], rows["values"])]
    yield from differences(list(page["states"]), ["Idle", "Charging"], "states")
    yield from differences(found, [
        ("b1", "charge", 1, 10, 100), ("b1", "state", 4, 11, 0),
        ("b22", "charge", 1, 20, 0x7FF8000000000123), ("b3", "charge", 1, 30, 300),
        ("b3", "state", 4, 9214646400000000000 - 1, 1)], "rows")


def check_page_columns(schema, path):
    """Buckets as columns: see s_build() of test_bb_page_columns.c."""
    page = schema.read(path)
    found = []
    for series in page["series"]:
        columns = series["columns"]
        low, high = columns["sums_low"], columns["sums_high"]
        high = high or [2**64 - 1 if number >> 63 else 0 for number in low]
        sums = [number << 64 | below for below, number in zip(low, high)]
        sums = [number - 2**128 if number >> 127 else number for number in sums]
        found.append((series["metric"], series["type"], list(columns["starts_wall_ns"]), list(columns["counts"]), sums,
                      list(columns["mins"] or []), list(columns["maxs"] or [])))
    starts, counts = [-60, 0, 120], [1, 2**40, 7]
    yield from differences(found, [
        ("a", 1, starts, counts, [-5, 2**63 - 1, -2**63], [], []),
        ("b", 2, starts, counts, [-5, 2**63 - 1, -2**120], [], []),
        ("on", 3, starts, counts, [-5, 2**63 - 1, -2**63], [0, 1, 0], [1, 1, 0])], "columns")


def main():
    if len(sys.argv) == 2:
        name = os.path.basename(sys.argv[1]).split("_v")[0]
        shown = lambda value: value.hex() if isinstance(value, bytes) else repr(value)
        read = read_batch if name == "batch" else Schema.read
        print(json.dumps(read(Schema(schema_of(name)), sys.argv[1]), indent=1, default=shown))
        return 0
    passed = failed = 0
    names = sorted(n[:-len("_v1.bin")] for n in os.listdir(HERE) if n.endswith("_v1.bin"))
    for name in sorted(set(names) | set(EXPECTED) | {"page", "page_rows", "page_columns"}):
        version = "_v2" if name in ("batch", "chunks") else "" if name == "chunks_v1" else "_v1"
        path = os.path.join(HERE, f"{name}{version}.bin")
        try:
            schema = Schema(schema_of(name))
            if name == "page":
                found = list(check_page(schema, path))
            elif name == "page_rows":
                found = list(check_page_rows(schema, path))
            elif name == "page_columns":
                found = list(check_page_columns(schema, path))
            elif name == "batch":
                found = list(differences(read_batch(schema, path), EXPECTED[name]))
            elif name not in EXPECTED:
                found = ["nothing is written down for this file"]
            else:
                found = list(differences(schema.read(path), EXPECTED[name]))
        except (OSError, ValueError, struct.error, KeyError, IndexError, TypeError) as error:
            found = [f"{type(error).__name__}: {error}"]
        for line in found:
            print(f"{name}: {line}")
        passed, failed = passed + (not found), failed + bool(found)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
