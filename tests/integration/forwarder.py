# SPDX-License-Identifier: Apache-2.0
"""What goes between nodes goes through here, at addresses of its own, and what a test wants of the way happens to it."""
import contextlib
import socket
import threading


class Forwarder:
    """Forwards 127.1.0.N to 127.0.0.N for ports of node N. targets: (N, port, key), where a test counts under key.
    A test's own class says in `pass_on` what becomes of the bytes, and in `may_open` when connections open."""

    def __init__(self, targets):
        self.listeners = []
        for number, port, key in targets:
            self.listeners.append(socket.create_server((f"127.1.0.{number}", port)))
            self._start(self._accept, self.listeners[-1], (f"127.0.0.{number}", port), key)

    def close(self):
        for listener in self.listeners:
            listener.close()

    def may_open(self):
        """Returns when a connection may be opened."""

    def pass_on(self, sink, data, key):
        """Sends the bytes on. key: None on the way back."""
        raise NotImplementedError

    @staticmethod
    def _start(function, *words):
        threading.Thread(target=function, args=words, daemon=True).start()

    def _accept(self, listener, target, key):
        while True:
            here = None
            try:
                here = listener.accept()[0]
                self.may_open()
                there = socket.create_connection(target)
            except OSError:
                if listener.fileno() < 0:
                    return
                if here:
                    here.close()
                continue
            for end in (here, there):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._start(self._pump, here, there, key)
            self._start(self._pump, there, here, None)

    def _pump(self, source, sink, key):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self.pass_on(sink, data, key)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
