"""A way to a server that can be cut, and opened again."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress


class Way:
    """Passes on what comes, in both directions, while it is open.

    Attributes:
        port: where it begins.
    """

    def __init__(self, to_port: int) -> None:
        self._to = to_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open = True
        self._cut = threading.Event()
        self._another = threading.Event()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def cut(self, *, stay: bool = False) -> None:
        """End all connections; with `stay`, new ones find nobody until `mend`."""
        self._open = not stay
        self._cut.set()
        for end in [*self._sockets]:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self, to_port: int | None = None) -> None:
        """Take connections again, to another server if one is given."""
        self._to = to_port or self._to
        self._open = True

    def wait_for_another(self) -> None:
        """Return when somebody comes after the cut."""
        assert self._another.wait(30), "nobody has come"

    def close(self) -> None:
        """No longer be there."""
        self._open = False
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes up who accepts
        self._listener.close()
        self._threads[0].join()
        self.cut(stay=True)
        for thread in self._threads:
            thread.join()
        for end in self._sockets:
            end.close()

    def _start(self, run: Callable[..., None], *args: socket.socket) -> None:
        thread = threading.Thread(target=run, args=args)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                self._sockets.append(here)
                if self._cut.is_set():
                    self._another.set()
                there = self._connect()
                if there is None:
                    here.shutdown(socket.SHUT_RDWR)
                else:
                    self._start(_pass, here, there)
                    self._start(_pass, there, here)

    def _connect(self) -> socket.socket | None:
        if not self._open:
            return None
        try:
            there = socket.create_connection(("127.0.0.1", self._to))
        except OSError:  # the server has left
            return None
        self._sockets.append(there)
        return there


def _pass(here: socket.socket, there: socket.socket) -> None:
    with suppress(OSError):
        while data := here.recv(65536):
            there.sendall(data)
    for end in (here, there):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def open_way(to_port: int) -> AbstractContextManager[Way]:
    """A way for the block."""
    return closing(Way(to_port))
