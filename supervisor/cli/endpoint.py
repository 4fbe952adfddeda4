"""Where a running server can be found: one small file each, in the user's runtime directory.

The server holds a lock on its file for as long as it lives. A file that nobody locks is stale: its
server was killed, and whoever listens on that port now must not be sent the token.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

from .private import runtime_directory, write_private

__all__ = ["Endpoint", "file_of", "find_endpoints", "is_live", "published"]

SUFFIX = ".endpoint.json"


@attrs.frozen(kw_only=True)
class Endpoint:
    """A server, as it tells of itself.

    Args:
        url: of the control channel.
        http_url: of the pages beside it.
        token_file: where its token is.
        instance: which history its events count in.
        pid: its process, for people to read; nobody kills by it.
        urls: all of its addresses, `url` among them.
        certificate: what it shows of itself, in PEM, if it speaks TLS. Whoever reads this file
            trusts it and no other, whatever names are in it, for the server itself wrote it here.
    """

    url: str
    http_url: str
    token_file: str
    instance: str
    pid: int = 0
    urls: tuple[str, ...] = ()
    certificate: str | None = attrs.field(default=None, repr=False)

    def document(self) -> dict[str, Any]:
        """What `serve --json` prints."""
        hidden = ("pid", "certificate")
        return attrs.asdict(self, filter=lambda field, _: field.name not in hidden)


@contextmanager
def published(endpoint: Endpoint) -> Iterator[Path]:
    """Let the other commands find this server while the block lasts.

    Raises:
        CliError: there is no directory that can be trusted.
        OSError: the file cannot be written.
    """
    directory = runtime_directory(create=True)
    assert directory is not None
    _sweep(directory)
    path = directory / f"{endpoint.instance}{SUFFIX}"
    # Locked before anybody can see it.
    draft = path.with_suffix(".draft")
    write_private(draft, json.dumps(attrs.asdict(endpoint)) + "\n", replace=True)
    with open(draft, encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            draft.replace(path)
            yield path
        finally:
            draft.unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def file_of(endpoint: Endpoint) -> Path | None:
    """Where it is published; None if there is no directory for that.

    Raises:
        CliError: the runtime directory is somebody else's.
    """
    directory = runtime_directory()
    return None if directory is None else directory / f"{endpoint.instance}{SUFFIX}"


def find_endpoints() -> tuple[list[Endpoint], list[Endpoint]]:
    """The servers of this user that run, the newest first, and those that are gone.

    Raises:
        CliError: the runtime directory is somebody else's.
    """
    directory = runtime_directory()
    live: list[tuple[float, Endpoint]] = []
    stale: list[Endpoint] = []
    for path in directory.glob(f"*{SUFFIX}") if directory is not None else ():
        with suppress(OSError, ValueError, TypeError, KeyError), path.open("rb") as file:
            endpoint = _read(file.read(65536))
            if _is_locked(file.fileno()):
                live.append((os.fstat(file.fileno()).st_mtime, endpoint))
            else:
                stale.append(endpoint)
    live.sort(key=lambda pair: pair[0], reverse=True)
    return [endpoint for _, endpoint in live], stale


def is_live(path: Path) -> bool:
    """Whether the server that wrote this file lives."""
    try:
        with path.open("rb") as file:
            return _is_locked(file.fileno())
    except OSError:  # it has removed it, as the last thing it did
        return False


def _read(text: bytes) -> Endpoint:
    data = json.loads(text)
    texts = {name: data[name] for name in ("url", "http_url", "token_file", "instance")}
    if not all(isinstance(value, str) for value in texts.values()):
        raise TypeError("an endpoint is made of text")
    certificate, urls = data.get("certificate"), data.get("urls", [])
    if not isinstance(certificate, str | None) or not all(isinstance(url, str) for url in urls):
        raise TypeError("an endpoint is made of text")
    return Endpoint(
        **texts, pid=int(data.get("pid", 0)), urls=tuple(urls), certificate=certificate
    )


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _sweep(directory: Path) -> None:
    """Remove what killed servers left. A server's file has a name of its own, never used again."""
    for path in directory.glob(f"*{SUFFIX}"):
        with suppress(OSError), open(path, encoding="utf-8") as file:
            if not _is_locked(file.fileno()):
                path.unlink()
