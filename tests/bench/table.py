# SPDX-License-Identifier: Apache-2.0
"""What is measured, what is wanted, and what others reach: the rows of the table that `make bench`
prints. Peers: the best figure of the yardstick's table (VictoriaMetrics 1.145, InfluxDB 1.6.7,
TimescaleDB 2.28, ClickHouse 18.16, DuckDB 1.5.6 on 2 virtual cores), with its owner's letter."""
from collections import namedtuple

Row = namedtuple("Row", "name unit target at_most peer")

# at_most: the target is an upper limit; else a lower one. peer None: nobody has measured it.
ROWS = [
    Row("ingest_native_cpu_s_per_mpt", "CPU s/Mpt", 0.03, True, "0.13 D, 0.158 C, 0.78 V"),
    Row("ingest_native_cpu_settled_s_per_mpt", "CPU s/Mpt", None, True, None),
    Row("ingest_native_mpts_per_s", "Mpt/s", 15, False, "14.1 D, 8.9 C"),
    Row("ingest_text_cpu_s_per_mpt", "CPU s/Mpt", 0.10, True, "0.78 V"),
    Row("bytes_per_point_yardstick", "B/pt", 0.45, True, "1.03 V"),
    Row("bytes_per_point_m5bat", "B/pt", None, True, "bench-peers"),
    Row("scan_decode_mvalues_per_s", "M/s, 1 core", 1500, False, "70 D"),
    Row("engine_q1_ms", "ms", 0.2, True, "5.5 D"),
    Row("engine_q2_ms", "ms", 0.15, True, "1.8 V"),
    Row("engine_q3_ms", "ms", 0.2, True, "2.0 D"),
    Row("engine_q4_ms", "ms", 3, True, "53 D"),
    Row("engine_q5_ms", "ms", 15, True, "59 D"),
    Row("engine_q6_ms", "ms", 0.2, True, "0.4 D"),
    Row("engine_q7_ms", "ms", 5, True, "658 T"),
    Row("engine_q7_decode_ms", "ms", 70, True, "658 T"),
    Row("ack_idle_p50_ms", "ms", None, True, None),
    Row("ack_half_p50_ms", "ms", None, True, None),
    Row("ack_half_p99_ms", "ms", None, True, None),
    Row("ack_steady_p50_ms", "ms", None, True, None),
    Row("ack_steady_p99_ms", "ms", None, True, None),
    Row("ack_half_p50_ms_3node", "ms", 3, True, None),
    Row("ack_half_p99_ms_3node", "ms", 20, True, None),
    Row("ack_steady_p50_ms_3node", "ms", 3, True, None),
    Row("ack_steady_p99_ms_3node", "ms", 20, True, None),
    Row("replication_bytes_ratio", "x", 1.1, True, None),
    Row("antientropy_kb_per_s", "KB/s a pair", 10, True, None),
    Row("antientropy_cpu_pct", "%", 0.5, True, None),
    Row("catchup_s", "s", 60, True, None),
    Row("catchup_ingest_loss_pct", "%", 20, True, None),
    Row("rss_mib", "MiB", 256, True, "302 C"),
    Row("restart_s", "s", 0.3, True, "0.05-0.6"),
    Row("acked_lost_points", "points", 0, True, "0 I T C D"),
    Row("replay_mb_per_s", "MB/s", 1000, False, None),
    Row("million_batteries_cpu_ratio", "x", 1.5, True, None),
    Row("million_batteries_rss_mib", "MiB", 4096, True, None),
    Row("million_batteries_bytes_ratio", "x", 1.2, True, None),
]


# What of the machine a figure takes: (text, numerator, denominator, factor).
RATIOS = [
    ("decoded values of 8 bytes, a second, to memcpy of one thread", "scan_decode_mvalues_per_s",
     "machine_memcpy_gb_per_s", 8e-3),
    ("recovery of a journal to memcpy of one thread", "replay_mb_per_s", "machine_memcpy_gb_per_s", 1e-3),
    ("median acknowledgement at full load to a 4 KiB fdatasync", "ack_p50_ms", "machine_fdatasync_4k_ms", 1),
    ("CPU of ingest (server and client) to CURVE of the points as plain doubles", "ingest_both_cpu_s_per_mpt",
     "machine_curve_cpu_s_per_gb", 1 / 8e-3),
]


def ratios(values):
    values = dict(values)
    if "ingest_native_client_cpu_s_per_mpt" in values:
        values["ingest_both_cpu_s_per_mpt"] = (values["ingest_native_client_cpu_s_per_mpt"] +
                                               values["ingest_native_cpu_s_per_mpt"])
    return [(text, values[above] / values[below] * factor) for text, above, below, factor in RATIOS
            if above in values and values.get(below)]


def show(value):
    return f"{value:.4g}" if abs(value) < 1e5 else f"{value:.0f}"


def lines(values):
    """The table as text lines; `values` maps names to numbers."""
    out = [f"{'what':38} {'measured':>10} {'target':>10} {'met':>4}  {'best peer':24} unit"]
    for row in ROWS:
        value = values.get(row.name)
        sign = "<=" if row.at_most else ">="
        target = f"{sign} {row.target:g}" if row.target is not None else "-"
        met = "-"
        if value is not None and row.target is not None:
            met = "yes" if (value <= row.target if row.at_most else value >= row.target) else "no"
        shown = show(value) if value is not None else "-"
        out.append(f"{row.name:38} {shown:>10} {target:>10} {met:>4}  {row.peer or '-':24} {row.unit}")
    out += [f"  {text}: {show(share)}" for text, share in ratios(values)]
    out.append("peers: D DuckDB, C ClickHouse, V VictoriaMetrics, I InfluxDB, T TimescaleDB; see docs/benchmarks.md")
    return out
