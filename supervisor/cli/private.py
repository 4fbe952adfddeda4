"""Files that only their owner may read: the token, a key, and where a server can be found.

A runtime directory is believed only if it is ours and nobody else can write to it: in a shared
temporary directory anybody may have made the name before us.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

import attrs

from .exits import CliError, Exit, usage_error

__all__ = [
    "KEY_FILE",
    "TOKEN_FILE",
    "Kind",
    "ensure_token",
    "no_access",
    "open_private",
    "read_token",
    "runtime_directory",
    "write_private",
]

NAME = "trio-supervisor"
TOKEN_LIMIT = 1024
"""Characters; longer ones the wire does not take."""


# --- the directory -------------------------------------------------------------------------------


def runtime_directory(*, create: bool = False) -> Path | None:
    """Our directory for files that live as long as the user's session.

    `$XDG_RUNTIME_DIR/trio-supervisor` (XDG Base Directory Specification), else one named after the
    user in the temporary directory.

    Args:
        create: make it if it is missing; else None says that there is none.

    Raises:
        CliError: it is somebody else's, or others can write to it.
    """
    directory = _session_directory() or Path(tempfile.gettempdir()) / f"{NAME}-{os.geteuid()}"
    if create:
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
    try:
        found = directory.lstat()
    except FileNotFoundError:
        return None
    if not _is_private_directory(found):
        raise CliError(
            f"{directory} is not a directory of yours alone (owner uid {found.st_uid}, mode "
            f"{stat.S_IMODE(found.st_mode):04o}); remove it, or set XDG_RUNTIME_DIR to one that is",
            Exit.REFUSED,
        )
    return directory


def _session_directory() -> Path | None:
    given = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if not given.is_absolute():  # the specification: all paths must be absolute
        return None
    try:
        found = given.stat()
    except OSError:
        return None
    # After `su` or `sudo` the variable may still name the directory of another user.
    return given / NAME if _is_private_directory(found) else None


def _is_private_directory(found: os.stat_result) -> bool:
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return mine and not stat.S_IMODE(found.st_mode) & 0o077


# --- files ---------------------------------------------------------------------------------------


def write_private(path: Path, text: str, *, replace: bool) -> bool:
    """Write a file of mode 0600 that appears whole or not at all.

    Args:
        path: where.
        text: what.
        replace: whether it may take the place of another; if not, False says that there is one.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        if replace:
            draft.replace(path)
            return True
        os.link(draft, path)  # unlike a rename, this fails if the name is taken
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


@attrs.frozen
class Kind:
    """What a file is for.

    Args:
        name: as people say.
        option: which names it.
        remedy: what to do if others could read it.
    """

    name: str
    option: str
    remedy: str = ""


TOKEN_FILE = Kind("token file", "--token-file", "change its token")
KEY_FILE = Kind("key file", "--tls-key", "use a new key if others may have read it")


def open_private(path: Path, kind: Kind) -> int:
    """A descriptor to read a file by that only its owner can read.

    Raises:
        CliError: others can, or it is no file.
        OSError: it cannot be opened.
    """
    # Not blocking: the name may be that of a named pipe.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        _check_readers(path, found, kind)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def ensure_token(path: Path) -> str:
    """The token in this file, which is made if it is missing.

    Raises:
        CliError: it cannot be made or read, or others can read it.
    """
    try:
        write_private(path, f"{secrets.token_urlsafe(32)}\n", replace=False)
    except OSError as exc:
        if not path.exists():
            raise no_access("create", path, exc, TOKEN_FILE) from exc
    return read_token(path)


def read_token(path: Path) -> str:
    """The token in this file.

    Raises:
        CliError: there is none, it cannot be read, or others can read it.
    """
    try:
        with open(open_private(path, TOKEN_FILE), encoding="utf-8") as file:
            text = file.read(TOKEN_LIMIT + 2)
    except OSError as exc:
        raise no_access("read", path, exc, TOKEN_FILE) from exc
    except UnicodeDecodeError:
        raise usage_error(f"token file {path} holds no text; remove it to get a new one") from None
    token = text.strip()
    if not 1 <= len(token) <= TOKEN_LIMIT or not all("!" <= char <= "~" for char in token):
        raise usage_error(
            f"token file {path} holds no token (one word of up to {TOKEN_LIMIT} printable ASCII "
            "characters); remove it and `serve` makes a new one"
        )
    return token


def _check_readers(path: Path, found: os.stat_result, kind: Kind) -> None:
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISREG(found.st_mode):
        raise usage_error(f"{kind.name} {path} is not a file; give another {kind.option}")
    if found.st_uid not in (0, os.geteuid()):
        raise CliError(
            f"{kind.name} {path} belongs to another user (uid {found.st_uid}); "
            f"give one of your own with {kind.option}",
            Exit.REFUSED,
        )
    if mode & 0o077:
        raise CliError(
            f"{kind.name} {path} can be read by others (mode {mode:04o}); "
            f"{kind.remedy} and run: chmod 600 {path}",
            Exit.REFUSED,
        )


def no_access(verb: str, path: Path, exc: OSError, kind: Kind) -> CliError:
    """What to say if a file cannot be opened."""
    return CliError(
        f"cannot {verb} {kind.name} {path}: {exc.strerror}; give another with {kind.option}",
        Exit.REFUSED,
    )
