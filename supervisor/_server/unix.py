"""A listening Unix socket at a path, which is taken from nobody.

- Between `bind` and `listen` nobody can connect, so the mode is set there. No umask is touched:
  that would be the whole process's.
- Whoever takes a path holds a lock beside it meanwhile, so of several servers that start at once
  exactly one gets it. What lies there is removed only if it is a socket at which nobody listens.
- At the end the file is removed only if it is still ours. An open descriptor of it keeps its
  inode's number from being used again.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import trio

__all__ = ["absolute_path", "unix_listener"]

LONGEST = 107
"""Bytes of a path; `sun_path` has 108, the last of them 0 (unix(7))."""

BACKLOG = 0xFFFF
"""The kernel cuts it to net.core.somaxconn."""

KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a directory",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
}


def absolute_path(path: str | os.PathLike[str]) -> str:
    """The path as clients have to name it.

    Raises:
        OSError: no socket can have this path.
    """
    given = os.fspath(path)
    if not given or "\0" in given:
        # Linux would take both for addresses outside of the file system, where all may connect.
        raise OSError(
            errno.EINVAL, f"{given!r} is no path of a socket; name one in a directory of yours"
        )
    place = os.path.abspath(given)
    size = len(os.fsencode(place))
    if size > LONGEST:
        raise OSError(
            errno.ENAMETOOLONG,
            f"{place} is {size} bytes long and a socket's path may have {LONGEST}; choose a "
            "shorter one, such as one in $XDG_RUNTIME_DIR",
        )
    return place


@contextmanager
def unix_listener(place: str, *, mode: int) -> Iterator[trio.SocketListener]:
    """A socket that listens at this path while the block lasts; its file is removed afterwards.

    Args:
        place: see `absolute_path`.
        mode: who may connect; on Linux that takes write permission.

    Raises:
        OSError: the path cannot be had; says why.
    """
    sock, kept = _take(place, mode)
    try:
        yield trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    finally:
        _remove(place, kept)
        sock.close()
        os.close(kept)


def _take(place: str, mode: int) -> tuple[socket.socket, int]:
    """The socket, and a descriptor of its file."""
    with _locked(place):
        _make_room(place)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(place)
            try:
                return sock, _open_to(sock, place, mode)
            except BaseException:
                os.unlink(place)
                raise
        except BaseException:
            sock.close()
            raise


def _open_to(sock: socket.socket, place: str, mode: int) -> int:
    kept = os.open(place, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.chmod(f"/proc/self/fd/{kept}", mode)  # what lies at the path may be another's by now
        sock.listen(BACKLOG)
    except BaseException:
        os.close(kept)
        raise
    return kept


def _make_room(place: str) -> None:
    """Remove what a server left that was killed.

    Raises:
        OSError: what lies there is none of that.
    """
    try:
        kind = stat.S_IFMT(os.lstat(place).st_mode)
    except FileNotFoundError:
        return
    if kind != stat.S_IFSOCK:
        raise FileExistsError(
            errno.EEXIST,
            f"{place} is {KINDS.get(kind, 'something else')}, not a socket; choose another path, "
            "or remove it if nobody needs it",
        )
    if _is_alive(place):
        raise OSError(
            errno.EADDRINUSE, f"a server listens at {place} already; choose another path, or end it"
        )
    os.unlink(place)


def _is_alive(place: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(place)
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            return True  # its queue is full
        except OSError as exc:
            if exc.errno == errno.EPROTOTYPE:
                return True  # a socket of another kind
            raise
    return True


def _remove(place: str, kept: int) -> None:
    # Without the lock, somebody could put a new socket there between the look and the removal.
    with suppress(OSError), _locked(place):
        if os.path.samestat(os.lstat(place), os.fstat(kept)):
            os.unlink(place)


# --- the lock ------------------------------------------------------------------------------------


@contextmanager
def _locked(place: str) -> Iterator[None]:
    """Nobody else takes this path meanwhile.

    Raises:
        OSError: somebody does; or there is no such directory, or we may not write to it.
    """
    path = f"{place}.lock"
    descriptor = _lock(path)
    try:
        yield
    finally:
        with suppress(OSError):
            os.unlink(path)  # as long as we hold the lock, this is our file
        os.close(descriptor)


def _lock(path: str) -> int:
    while True:
        descriptor = _open_lock(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise OSError(
                errno.EADDRINUSE, f"another server is just being started ({path} is locked)"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its last holder has removed it: the next one has made another


def _open_lock(path: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except OSError as exc:
        directory = os.path.dirname(path)
        if exc.errno in (errno.ENOENT, errno.ENOTDIR):
            what = f"there is no directory {directory}; make it (mode 0700), or choose another path"
        elif exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            what = f"{path} cannot be made; choose a path in a directory of yours"
        else:
            what = f"{path} cannot be made: {exc.strerror}"
        raise OSError(exc.errno, what) from exc


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False
