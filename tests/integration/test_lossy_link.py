#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A node whose links lose 20 % of the packets: within 10 s it coordinates nothing any more, the others acknowledge as
before, nobody takes it for down, and it keeps its replicas.

Machines for tests have no netem, so what goes between the node and the others goes through forwarders that do what
TCP makes of losses: a lost piece comes when it was sent again, after 200 ms, then 400 and so on, and what was sent
behind it waits for it."""
import contextlib
import random
import re
import time

import gray
from cluster import Cluster, expect, finish
from forwarder import Forwarder

LOSS = 0.2
PIECE_BYTES = 1448      # a packet
TIMEOUT_S = 0.2         # the least that TCP waits before it sends again
FAST_S = 0.002          # when more packets are behind it, it learns of the loss sooner


class Link(Forwarder):
    """Loses packets, in both directions, while `loss` is not 0."""

    def __init__(self, targets):
        self.loss = 0.0
        super().__init__(targets)

    def _late(self, size):
        """For how long these bytes are held up."""
        pieces, late, wait = 1 + (size - 1) // PIECE_BYTES, 0.0, TIMEOUT_S
        for piece in range(pieces):
            if random.random() < self.loss and piece + 3 < pieces:
                late += FAST_S
            elif piece + 3 >= pieces:
                while random.random() < self.loss and wait < 2:
                    late += wait
                    wait *= 2
        return late

    def pass_on(self, sink, data, key):
        if self.loss:
            time.sleep(self._late(len(data)))
        sink.sendall(data)


def prepare(group):
    """The node and the others know each other by the forwarders' addresses; returns what is to be forwarded."""
    targets = set()
    for node in group.nodes():
        path = group.path(node, "busbard.yaml")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        entries = re.findall(r'- id: (n\d)\n    dc: "dc1"\n    host: "127.0.0.(\d)"\n    client_port: (\d+)\n'
                             r'    peer_port: (\d+)\n    bulk_port: (\d+)', text)
        expect(len(entries) == 3, f"{path} has {len(entries)} nodes")
        for name, number, client, peer, bulk in entries:
            if (name == gray.VICTIM) != (node == gray.VICTIM):
                text = text.replace(f'host: "127.0.0.{number}"', f'host: "127.1.0.{number}"')
                targets |= {(number, int(port), None) for port in (client, peer, bulk)}
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    return sorted(targets)


def main():
    group = Cluster("--nodes", "3", "--partitions", "64", start=False)
    with group:
        link = Link(prepare(group))
        group.up()
        with gray.under_load(group) as load:
            p99_ms = gray.healthy(group, load)
            link.loss = LOSS
            gray.demoted(group, load, "links that lose 20 % of the packets", p99_ms)
            link.loss = 0.0
            gray.kept(group, load)
        link.close()
    finish()


if __name__ == "__main__":
    main()
