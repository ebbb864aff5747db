#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The fleet simulator as a user sees it: the same seed gives the same bytes, states change along
legal transitions only, and the metrics of a frame agree with each other."""
import csv
import datetime
import decimal
import io
import time

import cluster
from cluster import case, expect, run

LEGAL = {
    "Idle": {"Idle", "Charging", "Discharging", "Fault", "Maintenance"},
    "Charging": {"Charging", "Idle", "Discharging", "Fault"},
    "Discharging": {"Discharging", "Idle", "Charging", "Fault"},
    "Fault": {"Fault", "Maintenance", "Idle"},
    "Maintenance": {"Maintenance", "Idle"},
}
FLEET = ["--batteries", "12", "--interval", "10s", "--duration", "12h", "--seed", "7"]


def simulate(*words, env=None):
    done = run("simulate", *words, env=env)
    expect(done.returncode == 0, f"simulate {words}: {done.returncode}: {done.stderr}")
    return done.stdout


def number(row, name):
    return decimal.Decimal(next(v for k, v in row.items() if k.split(":")[0] == name))


def main():
    text = simulate(*FLEET, "--out", "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    by_battery = {}
    for row in rows:
        by_battery.setdefault(row["battery"], []).append(row)
    state_column = next(k for k in rows[0] if k.split(":")[0] == "state")

    with case("the same seed gives the same bytes, another seed others"):
        expect(simulate(*FLEET, "--out", "csv") == text, "two runs differ")
        expect(simulate(*FLEET[:-1], "8", "--out", "csv") != text, "seed 8 equals seed 7")
    with case("environment variables stand in for options"):
        other = simulate(env={"BUSBAR_SIM_BATTERIES": "12", "BUSBAR_SIM_INTERVAL": "10s", "BUSBAR_SIM_DURATION": "12h",
                              "BUSBAR_SIM_SEED": "7", "BUSBAR_SIM_OUT": "csv"})
        expect(other == text, "the bytes differ from those of the options")
    with case("every battery reports once per interval, in order of time, at least 12 metrics"):
        expect(len(by_battery) == 12, f"{len(by_battery)} batteries")
        expect(len(rows[0]) - 2 >= 12, f"{len(rows[0]) - 2} metrics")
        for battery, frames in by_battery.items():
            times = [datetime.datetime.fromisoformat(f["time"].replace("Z", "+00:00")) for f in frames]
            expect(len(times) == 4320, f"{battery}: {len(times)} frames")
            steps = {(b - a).total_seconds() for a, b in zip(times, times[1:])}
            expect(steps == {10.0}, f"{battery}: steps of {steps} s")
            expect(times[0].isoformat() >= "2026-01-01T00:00:00", f"{battery} begins at {times[0]}")
    with case("states change along legal transitions only, and all change at some time"):
        for battery, frames in by_battery.items():
            states = [f[state_column] for f in frames]
            for a, b in zip(states, states[1:]):
                expect(b in LEGAL[a], f"{battery}: {a} -> {b}")
            expect(len(set(states)) > 1, f"{battery} stays {states[0]}")
        seen = {r[state_column] for r in rows}
        expect({"Idle", "Charging", "Discharging"} <= seen <= set(LEGAL), f"{seen}")
    with case("power = voltage x current within half a unit of the last digit"):
        for row in rows:
            exact = number(row, "voltage_v") * number(row, "current_a") / 1000
            power = number(row, "power_kw")
            expect(abs(power - exact) <= decimal.Decimal("0.0005"), f"{row}")
            state = row[state_column]
            expect((power > 0) <= (state == "Charging") and (power < 0) <= (state == "Discharging"), f"{row}")
    with case("cell minimum <= mean <= maximum; state of charge within 0 to 100"):
        for row in rows:
            low, mean, high = (number(row, f"cell_voltage_{k}_v") for k in ("min", "mean", "max"))
            expect(low <= mean <= high, f"{row}")
            expect(0 <= number(row, "state_of_charge_pct") <= 100, f"{row}")
    with case("energy counters integrate power"):
        for battery, frames in by_battery.items():
            charged = discharged = decimal.Decimal(0)  # kW x s
            for a, b in zip(frames, frames[1:]):
                power = number(a, "power_kw")
                charged += max(power, 0) * 10
                discharged += max(-power, 0) * 10
                for name, sum_kws in (("energy_charged_kwh", charged), ("energy_discharged_kwh", discharged)):
                    grown = number(b, name) - number(frames[0], name)
                    expect(abs(grown - sum_kws / 3600) <= decimal.Decimal("0.001"),
                           f"{battery} {b['time']}: {name} grew by {grown}, power says {sum_kws / 3600}")
    with case("line protocol says the same as CSV"):
        lines = simulate(*FLEET[:-1], "7", "--duration", "1m", "--out", "influx").splitlines()
        expect(len(lines) == 12 * 6, f"{len(lines)} lines")
        for line, row in zip(lines, rows):
            head, fields, stamp = line.split(" ")
            expect(head.endswith("battery=" + row["battery"]), line)
            values = dict(f.split("=", 1) for f in fields.split(","))
            expect(values["state"] == f'"{row[state_column]}"', line)
            expect(decimal.Decimal(values["power_kw"]) == number(row, "power_kw"), line)
            civil = datetime.datetime.fromisoformat(row["time"].replace("Z", "+00:00"))
            micros = (civil - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) \
                // datetime.timedelta(microseconds=1)
            expect(int(stamp) == micros * 1000, f"{line}: {row['time']}")
    with case("--speed paces to a multiple of real time"):
        begin = time.monotonic()
        simulate("--batteries", "2", "--interval", "1s", "--duration", "20s", "--speed", "20")
        expect(time.monotonic() - begin >= 0.8, "20 s at 20 times real time took less than 0.8 s")
    with case("options that make no sense are refused with status 2"):
        for words, why in ((["--batteries", "0"], "--batteries"), (["--interval", "1us"], "--interval"),
                           (["--duration", "0s"], "--duration"), (["--speed", "-1"], "--speed"),
                           (["--out", "xml"], "--out"), (["--seed", "x"], "--seed"), (["extra"], "extra")):
            done = run("simulate", *words)
            expect(done.returncode == 2 and why in done.stderr and not done.stdout, f"{words}: {done}")
    cluster.finish()


if __name__ == "__main__":
    main()
