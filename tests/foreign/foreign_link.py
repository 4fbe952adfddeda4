"""A link to a server that can be cut, go silent, or lose a message, while the jobs live on."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import AbstractContextManager, closing


class Link:
    """A port that leads to another. One thread moves the bytes."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._wake, self._woken = socket.socketpair()
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._orders: list[tuple[str, object]] = []
        self._frames: dict[socket.socket, Frames] = {}
        self._lost = b""
        self._losses = 0
        self._done = threading.Condition()
        self._silent: set[socket.socket] = set()
        self._open = True
        self._connections = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self._listener.getsockname()[1]}/ws"

    def cut(self) -> None:
        """Break every connection, and let nobody connect until `mend`."""
        self._order("cut")

    def mend(self) -> None:
        """Let connections through again."""
        self._order("mend")

    def hush(self) -> None:
        """Carry nothing more on the connections there are; they stay open."""
        self._order("hush")

    def lose(self, text: str) -> None:
        """Lose the next message from the server with this in it."""
        self._order("lose", text.encode())

    def lead_to(self, port: int) -> None:
        """Lead to another server from now on."""
        self._order("lead", port)

    def connections(self) -> int:
        """How many were made until now."""
        return self._connections

    def losses(self) -> int:
        """How many messages were lost until now."""
        return self._losses

    def close(self) -> None:
        self._order("cut")
        self._order("end")
        self._thread.join()
        for each in (self._listener, self._wake, self._woken):
            each.close()

    def _order(self, word: str, what: object = None) -> None:
        with self._done:
            self._orders.append((word, what))
            self._wake.send(b"x")
            assert self._done.wait_for(lambda: not self._orders, timeout=30)

    # --- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            heard = [each for each in self._pairs if each not in self._silent]
            ready, _, _ = select.select([self._listener, self._woken, *heard], [], [])
            for each in ready:
                if each is self._listener:
                    self._accept()
                elif each is not self._woken:
                    self._carry(each)
            if self._woken in ready and self._obey() == "end":
                return

    def _obey(self) -> str:
        self._woken.recv(1)
        with self._done:
            word, what = self._orders.pop(0)
            if word == "cut":
                self._open = False
                for each in [*self._pairs]:
                    self._drop(each)
            elif word == "mend":
                self._open = True
            elif word == "hush":
                self._silent.update(self._pairs)
            elif word == "lose":
                assert isinstance(what, bytes)
                self._lost = what
            elif word == "lead":
                assert isinstance(what, int)
                self._target = what
            self._done.notify_all()
        return word

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        if not self._open:
            near.close()
            return
        self._connections += 1
        far = socket.create_connection(("127.0.0.1", self._target))
        self._pairs |= {near: far, far: near}
        self._frames[far] = Frames()

    def _carry(self, source: socket.socket) -> None:
        if source not in self._pairs:
            return
        try:
            data = source.recv(65536)
            for piece in self._frames[source].split(data) if source in self._frames else [data]:
                if self._lost and self._lost in piece:
                    self._lost = b""
                    self._losses += 1
                else:
                    self._pairs[source].sendall(piece)
        except OSError:
            data = b""
        if not data:
            self._drop(source)

    def _drop(self, one: socket.socket) -> None:
        other = self._pairs.pop(one, None)
        if other is not None:
            del self._pairs[other]
            self._frames = {
                each: self._frames[each] for each in self._frames if each in self._pairs
            }
            self._silent -= {one, other}
            one.close()
            other.close()


class Frames:
    """Takes what a server sends apart into the head of its answer and whole frames (RFC 6455)."""

    def __init__(self) -> None:
        self._bytes = b""
        self._head = True

    def split(self, data: bytes) -> list[bytes]:
        """What is complete with this."""
        self._bytes += data
        pieces = []
        while size := self._size():
            pieces.append(self._bytes[:size])
            self._bytes = self._bytes[size:]
            self._head = False
        return pieces

    def _size(self) -> int:
        """Of what is next, if it is all there; else 0."""
        if self._head:
            return self._bytes.find(b"\r\n\r\n") + 4 if b"\r\n\r\n" in self._bytes else 0
        if len(self._bytes) < 2:
            return 0
        more = {126: 2, 127: 8}.get(self._bytes[1], 0)  # a server's frames are not masked
        size = int.from_bytes(self._bytes[2 : 2 + more]) if more else self._bytes[1]
        return 2 + more + size if len(self._bytes) >= 2 + more + size else 0


def open_link(port: int) -> AbstractContextManager[Link]:
    return closing(Link(port))
