#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sessions: reads at `one` of a node that was paused see what was written and read meanwhile, or say
that they do not."""
import os

import cluster
from cluster import Cluster, case, expect

ROUNDS = 8


def rows(group, node, session, *words):
    """(exit status, number of rows) of a read of one node alone, at `one`."""
    done = group.cli("query", "--battery", "b1", "--from", "0s", "--to", "3600s", "--node", node, "--session", session,
                     "-o", "csv", *words)
    return done.returncode, max(0, len(done.stdout.splitlines()) - 1)


def write(group, number, *words):
    done = group.cli("write", "--consistency", "one", *words, "-", stdin=f"pack,battery=b1 v={number} {number}\n")
    expect(done.returncode == 0, done.stderr)


def main():
    with Cluster(name="session") as group:
        session = os.path.join(group.folder, "session")
        with case("what was written while a node was paused is seen by the session there"):
            for number in range(1, ROUNDS + 1):
                group.kill("n3", "STOP")
                write(group, number, "--session", session)
                group.kill("n3", "CONT")
                status, count = rows(group, "n3", session)
                expect(status == 0 and count == number, f"round {number}: status {status}, {count} rows")
        with case("what was read at one node is seen at the others"):
            for number in range(ROUNDS + 1, ROUNDS + 4):
                group.kill("n3", "STOP")
                write(group, number)
                status, first = rows(group, "n1", session)
                group.kill("n3", "CONT")
                status_behind, count = rows(group, "n3", session)
                expect(status == 0 and status_behind == 0, f"{status}, {status_behind}")
                expect(count >= first, f"{first} rows at n1, then {count} at n3")
        with case("the file is small, and its owner's alone"):
            expect(os.path.getsize(session) < 1000, f"{os.path.getsize(session)} bytes")
            expect(os.stat(session).st_mode & 0o077 == 0, oct(os.stat(session).st_mode))
        with case("a copy goes on as a session of its own, and both add up"):
            with open(session, "rb") as source, open(session + ".copy", "wb") as target:
                target.write(source.read())
            status, count = rows(group, "n2", session + ".copy")
            expect(status == 0 and count == ROUNDS + 3, f"{status}, {count} rows")
        with case("a damaged session file is refused and left as it is"):
            with open(session, "r+b") as file:
                file.seek(8)
                file.write(b"\xff")
                file.seek(0)
                before = file.read()
            done = group.cli("query", "--from", "0s", "--to", "3600s", "--session", session)
            expect(done.returncode == 2 and "no session token" in done.stderr, done.stderr)
            with open(session, "rb") as file:
                expect(file.read() == before, "the file was changed")
        with case("what only a paused node may have is seen or named as missing, in bounded time"):
            lost = session + ".lost"
            group.kill("n2", "STOP")
            group.kill("n3", "STOP")
            done = group.cli("write", "--consistency", "one", "--session", lost, "-", stdin="pack,battery=b1 v=99 99\n")
            expect(done.returncode == 0, done.stderr)
            group.kill("n1", "STOP")
            group.kill("n2", "CONT")
            group.kill("n3", "CONT")
            status, count = rows(group, "n2", lost, "--timeout", "20s")
            expect(status in (3, 4) or count == ROUNDS + 4, f"status {status} with {count} rows")
            group.kill("n1", "CONT")
            status, count = rows(group, "n2", lost)
            expect(status == 0 and count == ROUNDS + 4, f"status {status} with {count} rows")
    cluster.finish()


if __name__ == "__main__":
    main()
