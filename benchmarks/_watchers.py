"""Many connections that only read: `python -m benchmarks._watchers N PORT PATH [TOKEN MESSAGE]`.

Says `ready` when all are connected, and `all` whenever every one has got another message.
"""

from __future__ import annotations

import selectors
import socket
import sys

HEAD = (
    "GET {} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==\r\n{}\r\n"
)


class Connection:
    """One websocket, as far as reading it goes."""

    def __init__(self, port: int, path: str, token: str | None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        credentials = "" if token is None else f"Authorization: Bearer {token}\r\n"
        self.socket.sendall(HEAD.format(path, port, credentials).encode())
        self._unread = b""
        self._got = 0
        while b"\r\n\r\n" not in self._unread:
            self._receive()
        answer, _, self._unread = self._unread.partition(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 101 "), answer

    def say(self, message: str) -> None:
        """Send a short message, masked with zeros, and wait for the answer."""
        payload = message.encode()
        assert len(payload) < 126
        self.socket.sendall(bytes((0x81, 0x80 | len(payload))) + bytes(4) + payload)
        while not self.count():
            self._receive()

    def _receive(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError("the server has closed the connection")
        self._unread += data

    def read(self) -> int:
        """Read what there is; how many whole messages that makes."""
        self._receive()
        return self.count()

    def count(self) -> int:
        """Take the whole messages out of what was read."""
        whole, data = 0, self._unread
        while len(data) >= 4:
            size, start = data[1], 2
            if size == 126:
                size, start = int.from_bytes(data[2:4], "big"), 4
            assert data[0] == 0x81, data[:64]
            if len(data) < start + size:
                break
            data, whole = data[start + size :], whole + 1
        self._unread = data
        return whole


def main() -> None:
    n, port, path, *say = sys.argv[1:]
    token, message = say or (None, None)
    selector = selectors.DefaultSelector()
    for _ in range(int(n)):
        connection = Connection(int(port), path, token)
        if message is not None:
            connection.say(message)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
    print("ready", flush=True)
    got = 0
    while True:
        for key, _ in selector.select():
            got += key.data.read()
        while got >= int(n):
            got -= int(n)
            print("all", flush=True)


if __name__ == "__main__":
    main()
