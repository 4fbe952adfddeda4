"""Files that only their owner may read, and directories that are believed only if they are ours."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from supervisor.cli import private
from supervisor.cli.connection import TOKEN, URL, Where, find_target, require_target
from supervisor.cli.endpoint import Endpoint, find_endpoints, published
from supervisor.cli.exits import CliError
from supervisor.cli.private import ensure_token, read_token, runtime_directory, write_private


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(URL, raising=False)
    monkeypatch.delenv(TOKEN, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    return tmp_path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- the directory -------------------------------------------------------------------------------


def test_directory_is_made_private_whatever_the_umask(runtime: Path) -> None:
    before = os.umask(0)
    try:
        assert runtime_directory() is None
        assert runtime_directory(create=True) == runtime / "trio-supervisor"
    finally:
        os.umask(before)
    assert mode_of(runtime / "trio-supervisor") == 0o700
    assert runtime_directory() == runtime / "trio-supervisor"


def spoil_mode(path: Path) -> None:
    path.mkdir()
    path.chmod(0o750)


def spoil_file(path: Path) -> None:
    path.touch(0o600)


def spoil_link(path: Path) -> None:
    target = path.with_name("elsewhere")
    target.mkdir(mode=0o700)
    path.symlink_to(target)


@pytest.mark.parametrize("spoil", [spoil_mode, spoil_file, spoil_link])
@pytest.mark.parametrize("create", [True, False])
def test_directory_that_others_may_have_made_is_refused(
    runtime: Path, spoil: Callable[[Path], None], create: bool
) -> None:
    spoil(runtime / "trio-supervisor")
    with pytest.raises(CliError, match="not a directory of yours alone") as caught:
        runtime_directory(create=create)
    assert caught.value.code == 77


def test_directory_of_another_user_is_refused(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime_directory(create=True)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(runtime))
    (runtime / "trio-supervisor-12345").mkdir(mode=0o700)
    with pytest.raises(CliError, match="not a directory of yours alone"):
        runtime_directory(create=True)


@pytest.mark.parametrize("session", ["", "relative", "/no/such/directory", "open"])
def test_session_directory_that_is_none_of_ours_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, session: str
) -> None:
    if session == "open":
        session = str(tmp_path / "open")
        os.mkdir(session)
        os.chmod(session, 0o755)
    monkeypatch.setenv("XDG_RUNTIME_DIR", session)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    found = runtime_directory(create=True)
    assert found == tmp_path / f"trio-supervisor-{os.geteuid()}"


# --- tokens --------------------------------------------------------------------------------------


def test_token_is_made_once_and_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        token = ensure_token(tmp_path / "token")
    finally:
        os.umask(before)
    assert len(token) >= 32
    assert mode_of(tmp_path / "token") == 0o600
    assert ensure_token(tmp_path / "token") == read_token(tmp_path / "token") == token
    assert [path.name for path in tmp_path.iterdir()] == ["token"]


def test_many_who_make_the_token_at_once_get_the_same(tmp_path: Path) -> None:
    barrier = threading.Barrier(8)
    tokens: list[str] = []

    def make() -> None:
        barrier.wait()
        tokens.append(ensure_token(tmp_path / "token"))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 8
    assert len(set(tokens)) == 1


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o620, 0o601])
def test_token_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "token"
    path.write_text("abc")
    path.chmod(mode)
    for use in (read_token, ensure_token):
        with pytest.raises(CliError, match="chmod 600") as caught:
            use(path)
        assert caught.value.code == 77


def test_token_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "token"
    path.write_text("abc")
    path.chmod(0o600)
    owner = path.stat().st_uid
    if owner == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(CliError, match="belongs to another user"):
        read_token(path)


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"two words", b"two\nlines", b"\xff", "é".encode(), b"x" * 1025, b"a\0b"]
)
def test_token_that_is_none_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(CliError, match="remove it") as caught:
        read_token(path)
    assert caught.value.code == 2


def test_named_pipe_is_no_token_and_does_not_hold_us_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "token", 0o600)
    with pytest.raises(CliError, match="is not a file"):
        read_token(tmp_path / "token")


def test_file_appears_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    assert write_private(path, "one", replace=False)
    assert not write_private(path, "two", replace=False)
    assert path.read_text() == "one"
    assert write_private(path, "three", replace=True)

    def fail(*_: object) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr(private.Path, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        write_private(path, "four", replace=True)
    assert path.read_text() == "three"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


# --- endpoints -----------------------------------------------------------------------------------

ENDPOINT = Endpoint(
    url="ws://127.0.0.1:1/ws", http_url="http://127.0.0.1:1", token_file="/t", instance="one",
    pid=1,
)  # fmt: skip


def test_endpoint_is_found_while_its_server_lives(runtime: Path) -> None:
    assert find_endpoints() == ([], [])
    with published(ENDPOINT) as path:
        assert mode_of(path) == 0o600
        assert find_endpoints() == ([ENDPOINT], [])
    assert find_endpoints() == ([], [])
    assert [*(runtime / "trio-supervisor").iterdir()] == []


def test_endpoint_that_nobody_holds_is_stale_and_swept_by_the_next_server(runtime: Path) -> None:
    with published(ENDPOINT) as path:
        text = path.read_text()
    path.write_text(text)
    assert find_endpoints() == ([], [ENDPOINT])
    other = attrs.evolve(ENDPOINT, instance="two")
    with published(other):
        assert find_endpoints() == ([other], [])


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"url": 1}', '{"url": "x"}', "\0"])
def test_endpoint_file_that_is_none_is_passed_over(runtime: Path, text: str) -> None:
    directory = runtime_directory(create=True)
    assert directory is not None
    (directory / "x.endpoint.json").write_text(text)
    assert find_endpoints() == ([], [])


# --- which server --------------------------------------------------------------------------------


def token_file(runtime: Path) -> str:
    ensure_token(runtime / "token")
    return str(runtime / "token")


def test_endpoint_brings_its_own_token(runtime: Path) -> None:
    with published(attrs.evolve(ENDPOINT, token_file=token_file(runtime))):
        target = require_target(Where())
        assert (target.url, target.local) == (ENDPOINT.url, True)
        assert target.token == read_token(runtime / "token")
        assert target.token not in repr(target)
        assert require_target(Where(url="ws://127.0.0.1:1")).local


def test_token_of_the_environment_comes_before_that_of_the_endpoint(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, "mine")
    with published(attrs.evolve(ENDPOINT, token_file="/no/such/file")):
        assert require_target(Where()).token == "mine"
        named = Where(token_file=Path(token_file(runtime)))
        assert require_target(named).token == read_token(runtime / "token")


def test_stale_endpoint_never_gets_a_token(runtime: Path) -> None:
    directory = runtime_directory(create=True)
    assert directory is not None
    with published(attrs.evolve(ENDPOINT, token_file=token_file(runtime))) as path:
        text = path.read_text()
    path.write_text(text)
    assert find_target(Where()) is None
    with pytest.raises(CliError, match=f"the server at {ENDPOINT.url} is gone") as caught:
        require_target(Where())
    assert caught.value.code == 69
    with pytest.raises(CliError, match="is gone") as caught:
        find_target(Where(url=ENDPOINT.url))
    assert caught.value.code == 77


def test_lock_is_what_makes_an_endpoint_live(runtime: Path) -> None:
    with published(ENDPOINT) as path, open(path) as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
