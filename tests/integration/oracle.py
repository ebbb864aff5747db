# SPDX-License-Identifier: Apache-2.0
"""What the answers must be, calculated from the files by another program.

Reads the same map files with Python's own means: csv, gzip, Decimal for time, fractions for sums.
The rule for several rows with one battery, metric and time is the product's promise: the largest
value stays. So is what a number counts in a sum: the decimal that it prints as, if that has few
digits, else the binary fraction that it is; sums and means are rounded once.
"""
import csv
import datetime
import decimal
import fractions
import functools
import gzip
import math

import yaml

UNIT_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
           "d": 86400 * 10**9, "w": 7 * 86400 * 10**9}
BUCKET_NS = 900 * 10**9


def rfc3339_ns(text):
    civil = datetime.datetime.fromisoformat(str(text).replace("Z", "+00:00"))
    if civil.tzinfo is None:
        civil = civil.replace(tzinfo=datetime.timezone.utc)
    delta = civil - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
    return (delta.days * 86400 + delta.seconds) * 10**9 + delta.microseconds * 1000


class Oracle:
    """points[battery] = {time_ns: {metric: value}}"""

    def __init__(self):
        self.points = {}
        self.rows = 0
        self.values = 0  # before merging

    def load(self, map_path, *paths):
        with open(map_path, encoding="utf-8") as file:
            plan = yaml.safe_load(file)
        for path in paths:
            with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
                self._file(plan, csv.reader(file))

    def _file(self, plan, reader):
        header = next(reader)
        place = {name: i for i, name in enumerate(header)}
        time_of = self._time_reader(plan["time"], place)
        batteries = []
        for battery in plan["batteries"]:
            metrics = [(place[m["column"]], m["metric"], m["type"]) for m in battery["metrics"]]
            batteries.append((battery.get("id"), place.get(battery.get("column")), metrics))
        for row in reader:
            self.rows += 1
            time_ns = time_of(row)
            for fixed, column, metrics in batteries:
                self._frame(fixed or row[column], time_ns, row, metrics)

    def _frame(self, battery, time_ns, row, metrics):
        values = {}
        for index, metric, kind in metrics:
            cell = row[index]
            if cell == "" or cell.lower() == "nan":
                continue
            values[metric] = cell if kind == "state" else float(cell)
        if not values:
            return
        self.values += len(values)
        frames = self.points.setdefault(battery, {})
        known = frames.get(time_ns)
        if known is None:
            frames[time_ns] = values
            return
        for metric, value in values.items():
            known[metric] = max(known[metric], value, key=order) if metric in known else value

    @staticmethod
    def _time_reader(plan, place):
        base_ns = rfc3339_ns(plan["base"].isoformat() if hasattr(plan.get("base"), "isoformat")
                             else plan["base"]) if "base" in plan else None
        column = place[plan["column"]] if "column" in plan else None
        offsets = [(place[o["column"]], UNIT_NS[o["unit"]]) for o in plan.get("offsets", [])]
        carried = [None, None]  # text, ns

        def read(row):
            if base_ns is not None:
                time_ns = base_ns
            else:
                text = row[column]
                if text == "" and plan.get("carry"):
                    text = carried[0]
                if text != carried[0]:
                    carried[:] = [text, rfc3339_ns(text)]
                time_ns = carried[1]
            for index, unit_ns in offsets:
                exact = decimal.Decimal(row[index]) * unit_ns
                assert exact == exact.to_integral_value()
                time_ns += int(exact)
            return time_ns
        return read

    def merged_count(self):
        return sum(len(values) for frames in self.points.values() for values in frames.values())

    def series(self):
        """Yields (battery, metric, sorted [(time_ns, value)])."""
        for battery in sorted(self.points):
            columns = {}
            for time_ns, values in sorted(self.points[battery].items()):
                for metric, value in values.items():
                    columns.setdefault(metric, []).append((time_ns, value))
            for metric in sorted(columns):
                yield battery, metric, columns[metric]


def order(value):
    """The product's order of values of one type: -0.0 is less than 0.0 (IEEE totalOrder)."""
    return value if isinstance(value, str) else (value, math.copysign(1.0, value))


@functools.lru_cache(maxsize=1 << 20)
def counted(value):
    """What a finite number counts, times 10^10; an integer if it is a decimal of few digits."""
    printed = decimal.Decimal(repr(value)).normalize()
    places = max(0, -printed.as_tuple().exponent)
    if places <= 10 and abs(printed.scaleb(places)) < 2**51:
        return int(printed.scaleb(10))
    return fractions.Fraction(value) * 10**10


def mean_of(values, count):
    """The double next to the sum of the values / count."""
    return float(fractions.Fraction(sum(map(counted, values)), 10**10 * count))


def summary(points):
    """count, min, max, sum; the sum is None for text."""
    values = [value for _, value in points]
    if isinstance(values[0], str):
        return len(values), min(values), max(values), None
    return len(values), min(values, key=order), max(values, key=order), mean_of(values, 1)


def buckets(points):
    """{bucket start: (count, mean)} of 15 minutes; empty for text."""
    found = {}
    if isinstance(points[0][1], str):
        return found
    for time_ns, value in points:
        found.setdefault(time_ns // BUCKET_NS * BUCKET_NS, []).append(value)
    return {start: (len(v), mean_of(v, len(v))) for start, v in found.items()}
