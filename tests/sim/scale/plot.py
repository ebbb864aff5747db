#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws what busbar-scale measured: reads its lines on standard input, writes docs/scale.svg and
the table between the marks of docs/scale.md.

    build/bin/busbar-scale 9 12 24 48 96 200 | python3 tests/sim/scale/plot.py
"""
import math
import pathlib
import sys

DOCS = pathlib.Path(__file__).resolve().parents[3] / "docs"
BEGIN, END = "<!-- table -->\n", "<!-- end -->\n"
SERIES = [  # column, what it is called, colour
    ("heartbeat_kb_per_s", "heartbeats", "#b4464b"),
    ("in_step_kb_per_s", "anti-entropy, in step", "#2f6f9f"),
    ("busy_kb_per_s", "anti-entropy, 2 writes a second and node", "#5a8f4a"),
]


def table(rows):
    head = ("| nodes | heartbeats KB/s | in step KB/s | the same, a pair | busy KB/s | chunks KB/s | "
            "all met, s | one back after 10 s, s |\n|---|---|---|---|---|---|---|---|\n")
    lines = []
    for r in rows:
        pair = float(r["in_step_kb_per_s"]) / (int(r["nodes"]) - 1)
        lines.append(f"| {r['nodes']} | {r['heartbeat_kb_per_s']} | {r['in_step_kb_per_s']} | "
                     f"{pair:.2f} | {r['busy_kb_per_s']} | {r['data_kb_per_s']} | {r['met_s']} | "
                     f"{r['back_s']} |\n")
    return head + "".join(lines)


def picture(rows):
    """Log-log: growth with N is a slope, and the dashed line is slope one."""
    width, height, left, top, right, bottom = 720, 480, 70, 110, 20, 50
    nodes = [int(r["nodes"]) for r in rows]
    values = [float(r[c]) for r in rows for c, _, _ in SERIES if float(r[c]) > 0]
    x0, x1 = math.log10(min(nodes)), math.log10(max(nodes))
    y0 = math.floor(math.log10(max(min(values), 0.1)))
    y1 = math.ceil(math.log10(max(values)))

    def at(n, v):
        x = left + (math.log10(n) - x0) / (x1 - x0) * (width - left - right)
        y = height - bottom - (math.log10(v) - y0) / (y1 - y0) * (height - top - bottom)
        return f"{x:.1f},{y:.1f}"

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
           f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="#ffffff"/>']
    for power in range(y0, y1 + 1):
        x, y = at(nodes[0], 10.0 ** power).split(",")
        out.append(f'<path d="M{x} {y}H{width - right}" stroke="#dddddd"/>'
                   f'<text x="{left - 8}" y="{float(y) + 4:.1f}" text-anchor="end">'
                   f'{10.0 ** power:g}</text>')
    for n in nodes:
        x = at(n, 10.0 ** y0).split(",")[0]
        out.append(f'<text x="{x}" y="{height - bottom + 18}" text-anchor="middle">{n}</text>')
    first = float(rows[0][SERIES[0][0]])
    last = first * nodes[-1] / nodes[0]
    out.append(f'<path d="M{at(nodes[0], first)}L{at(nodes[-1], last)}" stroke="#888888" '
               'stroke-dasharray="5 4" fill="none"/>')
    for i, (column, name, colour) in enumerate(SERIES):
        drawn = [r for r in rows if float(r[column]) > 0]  # a logarithm has no place for nothing
        points = " ".join(at(int(r["nodes"]), max(float(r[column]), 10.0 ** y0)) for r in drawn)
        name += "" if drawn else ": nothing"
        out.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for point in points.split():
            x, y = point.split(",")
            out.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>')
        out.append(f'<text x="{left + 12}" y="{24 + 18 * i}" fill="{colour}">{name}</text>')
    out.append(f'<text x="{left + 12}" y="{24 + 18 * len(SERIES)}" fill="#888888">dashed: '
               'in proportion to the number of nodes</text>')
    out.append(f'<text x="{width / 2}" y="{height - 10}" text-anchor="middle">nodes</text>')
    out.append(f'<text transform="translate(18 {height / 2}) rotate(-90)" text-anchor="middle">'
               'KB/s that a node sends</text></svg>')
    return "\n".join(out) + "\n"


def main():
    lines = [line.rstrip("\n").split("\t") for line in sys.stdin if line.strip()]
    rows = [dict(zip(lines[0], line)) for line in lines[1:]]
    if len(rows) < 2:
        sys.exit("plot.py: at least two numbers of nodes are needed")
    (DOCS / "scale.svg").write_text(picture(rows))
    page = DOCS / "scale.md"
    text = page.read_text()
    before, rest = text.split(BEGIN)
    page.write_text(before + BEGIN + table(rows) + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
