#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A small disk that somebody else fills: writes are refused by name, at the reserve and past it;
reads go on; with room again the node goes on by itself, and nothing acknowledged is gone."""
import os
import re
import subprocess

from cluster import Cluster, case, expect, finish, skip

T0 = 1767225600 * 10**9  # 2026-01-01T00:00:00Z
DISK_MIB = 64
NAMES = ["at the reserve writes are refused as DISK_FULL and reads go on",
         "with room again the node goes on by itself",
         "on a disk without a free byte writes are refused, reads go on, and it recovers",
         "after a kill on the full disk everything acknowledged is there"]


def lines(first, count):
    return "".join(f"p,battery=b{i % 7} v={i} {T0 + i * 10**9}\n" for i in range(first, first + count))


class SmallDisk:
    """The data folder of n1 on a tmpfs of its own."""

    def __init__(self, group):
        self.folder = group.path("n1", "data")
        os.makedirs(self.folder, exist_ok=True)
        self.error = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=0700", "none", self.folder],
            capture_output=True, text=True, check=False).stderr.strip()

    def ballast(self, free_bytes):
        """Leaves so much, or nothing that can be written."""
        with open(os.path.join(self.folder, "ballast"), "wb") as file:
            disk = os.statvfs(self.folder)
            room = disk.f_bavail * disk.f_frsize - free_bytes
            try:
                while room > 0:
                    room -= file.write(bytes(min(room, 65536)))
                    file.flush()
            except OSError:
                pass

    def clear(self):
        os.unlink(os.path.join(self.folder, "ballast"))

    def unmount(self):
        subprocess.run(["umount", "-l", self.folder], check=False)


def set_reserve(group, reserve):
    path = group.path("n1", "busbard.yaml")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    text = re.sub(r"\n  disk_reserve_bytes:.*", "", text)
    text = text.replace("\n  data_dir:", f"\n  disk_reserve_bytes: {reserve}\n  data_dir:")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def expect_refused(group, first):
    for deadline_s in (1, 5, 30):  # nothing is taken, however long is waited; a slow machine says why later
        summary, done = group.write(lines(first, 5000), "--timeout", f"{deadline_s}s")
        expect(done.returncode != 0 and summary.get("acked_points", 0) == 0, f"{summary}: {done.stderr}")
        if "disk is" in done.stderr:
            break
    expect("disk is" in done.stderr, done.stderr)
    expect(group.count() == first, "a read while the disk is full")


def expect_taken(group, first, count):
    def taken():
        summary, done = group.write(lines(first, count), "--timeout", "5s")
        return done.returncode == 0 and summary["acked_points"] == count
    group.wait("a write after room was made", taken)
    expect(group.count() == first + count, "what was written")


def main():
    with Cluster("--nodes", "1", start=False) as group:
        disk = SmallDisk(group)
        if disk.error:
            for name in NAMES:
                skip(name, f"no tmpfs can be mounted: {disk.error}")
            finish()
        try:
            set_reserve(group, "24MiB")
            group.up()
            with case(NAMES[0]):
                expect_taken(group, 0, 100)
                disk.ballast(20 << 20)
                group.kill("n1")
                group.restart("n1")  # else up to 16 MiB more would be let through
                expect_refused(group, 100)
            with case(NAMES[1]):
                disk.clear()
                expect_taken(group, 100, 50)
            with case(NAMES[2]):
                group.down()
                set_reserve(group, "1")
                group.up()
                expect_taken(group, 150, 50)
                disk.ballast(0)
                expect_refused(group, 200)
                disk.clear()
                expect_taken(group, 200, 100)
            with case(NAMES[3]):
                disk.ballast(0)
                expect_refused(group, 300)
                group.kill("n1")
                disk.clear()
                group.restart("n1")
                expect(group.count() == 300, "after the kill")
                expect_taken(group, 300, 10)
        finally:
            group.down()
            disk.unmount()
    finish()


if __name__ == "__main__":
    main()
