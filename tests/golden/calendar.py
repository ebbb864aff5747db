#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes calendar.txt: moments and the bucket that Python's own calendar puts them into.

Independent of the code under test: datetime and zoneinfo alone. Run once; the file is kept.
Columns: zone, unit, moment, start of its bucket, start of the next (seconds UTC).
"""
import random
from datetime import date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

ZONES = ["UTC", "Europe/Berlin", "Europe/London", "America/New_York", "America/Sao_Paulo",
         "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia", "Africa/Cairo", "Asia/Gaza",
         "Pacific/Chatham", "America/St_Johns"]
STABLE = ["UTC", "Europe/Berlin", "America/New_York"]
UNITS = ["day", "week", "month", "year"]


def first(unit, day):
    return {"day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1),
            "year": day.replace(month=1, day=1)}[unit]


def following(unit, day):
    return first(unit, day + timedelta(days={"day": 1, "week": 7, "month": 32, "year": 366}[unit]))


def start(zone, day):
    """First second that carries the date or a later one, by bisection of each hour around it."""
    low = int(datetime(day.year, day.month, day.day, tzinfo=timezone.utc).timestamp()) - 2 * 86400
    def reached(second):
        return datetime.fromtimestamp(second, zone).date() >= day
    hour = low
    while not reached(hour):
        hour += 900  # every transition and offset here is a multiple of a quarter of an hour
    step = hour - 900
    while not reached(step):
        step += 1
    return step


def main():
    rng = random.Random(20260101)
    with open("calendar.txt", "w", encoding="ascii") as out:
        for name in ZONES:
            zone = ZoneInfo(name)
            moments = [rng.randrange(365 * 86400, 2_400_000_000) for _ in range(12)]
            moments = [moment if name in STABLE else moment % 1_700_000_000 for moment in moments]
            if name in STABLE:
                moments += [rng.randrange(2_500_000_000, 5_000_000_000) for _ in range(8)]
            for year in (1996, 2011, 2018, 2025, 2050):  # around every change of the clock
                if year > 2023 and name not in STABLE:
                    continue  # the rules of these may still be changed by their governments
                second = int(datetime(year, 1, 1, tzinfo=timezone.utc).timestamp())
                offset = None
                for hour in range(366 * 24):
                    now = datetime.fromtimestamp(second + hour * 3600, zone).utcoffset()
                    if offset is not None and now != offset:
                        moments += [second + hour * 3600 + d for d in (-90000, -3601, -1, 1, 7000)]
                    offset = now
            for moment in moments:
                unit = UNITS[rng.randrange(4)] if rng.random() < 0.5 else "day"
                day = first(unit, datetime.fromtimestamp(moment, zone).date())
                while start(zone, following(unit, day)) <= moment:
                    day = following(unit, day)
                begin = start(zone, day)
                after = following(unit, day)
                while start(zone, after) <= begin:
                    after = following(unit, after)
                out.write(f"{name} {unit} {moment} {begin} {start(zone, after)}\n")


if __name__ == "__main__":
    main()
