"""Unix sockets: a path taken from nobody, peers known by their uid, several places at once."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from server_kit import (
    SECRET,
    TOKENS,
    Peer,
    RawPeer,
    Refused,
    World,
    handshake,
    open_peer,
    open_world,
    registry,
    run,
)
from trio_websocket import ConnectionRejected, wrap_client_stream

from supervisor import ConnectionLost, InvalidArguments, Supervisor, open_supervisor
from supervisor._client.connect import connect
from supervisor._client.dial import TcpAddress, UnixAddress, dial, parse_url
from supervisor._server import (
    Auth,
    Limits,
    Peers,
    TcpPlace,
    Token,
    UnixPlace,
    peers,
    serve_places,
    serve_unix,
    unix,
)

ME = os.geteuid()
ALICE = Token("alice", "alices-secret")


def take(path: Path, mode: int = 0o600) -> Any:
    """Listen at this path, outside of any server."""
    return unix.unix_listener(str(path), mode=mode)


@contextmanager
def listening(path: Path, *, kind: int = socket.SOCK_STREAM) -> Iterator[socket.socket]:
    """Somebody else's socket."""
    with socket.socket(socket.AF_UNIX, kind) as sock:
        sock.bind(str(path))
        if kind == socket.SOCK_STREAM:
            sock.listen(1)
        yield sock


def leave_stale(path: Path) -> None:
    with listening(path):
        pass


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


def in_trio(fn: Callable[[], Any]) -> Any:
    """Run this where Trio's sockets can be made."""

    async def main() -> Any:
        return fn()

    return trio.run(main)


def why_not(path: Path) -> OSError:
    """Why this path cannot be had."""

    def attempt() -> None:
        with take(path):
            pass

    with pytest.raises(OSError) as caught:
        in_trio(attempt)
    return caught.value


# --- the path ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", [0, 0o777])
@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_mode_is_as_asked_whatever_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    path = tmp_path / "s"

    def look() -> int:
        with umask(mask), take(path, mode):
            assert os.umask(mask) == mask  # which stays the process's
            return stat.S_IMODE(path.stat().st_mode)

    assert in_trio(look) == mode


def test_nobody_can_connect_before_the_mode_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s"
    real, answers = os.chmod, []

    def chmod(*args: Any) -> None:
        with socket.socket(socket.AF_UNIX) as early:
            answers.append(early.connect_ex(str(path)))
        real(*args)

    def attempt() -> None:
        monkeypatch.setattr(os, "chmod", chmod)
        with take(path):
            pass

    in_trio(attempt)
    assert answers == [errno.ECONNREFUSED]


def test_what_a_killed_server_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    leave_stale(path)

    def attempt() -> None:
        with take(path), socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))

    in_trio(attempt)
    assert [*tmp_path.iterdir()] == []


def test_server_that_listens_keeps_its_path(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listening(path) as theirs:
        before = path.stat().st_ino
        refusal = why_not(path)
        assert refusal.errno == errno.EADDRINUSE
        assert f"a server listens at {path} already" in str(refusal)
        assert path.stat().st_ino == before
        theirs.accept()[0].close()
    assert [*tmp_path.iterdir()] == [path]


def test_server_whose_queue_is_full_listens(tmp_path: Path) -> None:
    path = tmp_path / "s"
    waiting = []
    with listening(path):
        while True:
            client = socket.socket(socket.AF_UNIX)
            client.setblocking(False)
            waiting.append(client)
            if client.connect_ex(str(path)) == errno.EAGAIN:
                break
        assert why_not(path).errno == errno.EADDRINUSE
    for client in waiting:
        client.close()


def test_socket_of_another_kind_keeps_its_path(tmp_path: Path) -> None:
    with listening(tmp_path / "s", kind=socket.SOCK_DGRAM):
        assert why_not(tmp_path / "s").errno == errno.EADDRINUSE


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (Path.touch, "a file"),
        (Path.mkdir, "a directory"),
        (os.mkfifo, "a named pipe"),
        (lambda path: path.symlink_to("elsewhere"), "a symbolic link"),
    ],
)
def test_what_is_no_socket_stays(
    tmp_path: Path, make: Callable[[Path], object], kind: str
) -> None:
    path = tmp_path / "s"
    make(path)
    before = path.lstat()
    refusal = why_not(path)
    assert refusal.errno == errno.EEXIST
    assert f"{path} is {kind}, not a socket; choose another path" in str(refusal)
    assert os.path.samestat(path.lstat(), before)
    assert [*tmp_path.iterdir()] == [path]


def test_link_to_a_stale_socket_stays(tmp_path: Path) -> None:
    leave_stale(tmp_path / "target")
    (tmp_path / "s").symlink_to(tmp_path / "target")
    assert why_not(tmp_path / "s").errno == errno.EEXIST
    assert (tmp_path / "target").is_socket()


@pytest.mark.parametrize(
    ("path", "told"),
    [("", "no path of a socket"), ("\0abstract", "no path"), ("/tmp/" + "x" * 103, "108 bytes")],
)
def test_path_that_no_socket_can_have(path: str, told: str) -> None:
    with pytest.raises(OSError, match=told):
        unix.absolute_path(path)


def test_longest_path_works(tmp_path: Path) -> None:
    name = "x" * (107 - len(str(tmp_path)) - 1)
    path = unix.absolute_path(tmp_path / name)

    def attempt() -> None:
        with take(Path(path)), socket.socket(socket.AF_UNIX) as client:
            client.connect(path)

    in_trio(attempt)


def test_relative_path_is_counted_as_clients_write_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.chdir(deep)
    with pytest.raises(OSError, match="choose a shorter one"):
        unix.absolute_path("s")
    monkeypatch.chdir(tmp_path)
    assert unix.absolute_path("s") == str(tmp_path / "s")


def test_directory_that_is_missing(tmp_path: Path) -> None:
    refusal = why_not(tmp_path / "missing" / "s")
    assert refusal.errno == errno.ENOENT
    assert f"there is no directory {tmp_path / 'missing'}; make it" in str(refusal)


def test_directory_that_may_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def denied(path: Any, *args: Any, **options: Any) -> int:
        if str(path).endswith(".lock"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", denied)
    refusal = why_not(tmp_path / "s")
    assert refusal.errno == errno.EACCES
    assert "a directory of yours" in str(refusal)


def test_nothing_stays_behind_if_listening_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "chmod", fail)
    assert why_not(tmp_path / "s").errno == errno.EIO
    assert [*tmp_path.iterdir()] == []


# --- several servers, one path -------------------------------------------------------------------


def test_of_servers_that_start_at_once_exactly_one_gets_the_path(tmp_path: Path) -> None:
    path = tmp_path / "s"
    for _ in range(50):
        leave_stale(path)
        barrier, release = threading.Barrier(4), threading.Event()
        won: list[bool] = []
        refused: list[int | None] = []
        told = threading.Semaphore(0)

        def attempt(
            barrier: threading.Barrier = barrier,
            release: threading.Event = release,
            won: list[bool] = won,
            refused: list[int | None] = refused,
            told: threading.Semaphore = told,
        ) -> None:
            barrier.wait()
            try:
                sock, kept = unix._take(str(path), 0o600)
            except OSError as exc:
                refused.append(exc.errno)
                told.release()
                return
            won.append(True)
            told.release()
            release.wait()
            unix._remove(str(path), kept)
            sock.close()
            os.close(kept)

        threads = [threading.Thread(target=attempt) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in threads:
            told.acquire()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        release.set()
        for thread in threads:
            thread.join()
        assert won == [True]
        assert refused == [errno.EADDRINUSE] * 3
        assert [*tmp_path.iterdir()] == []


def test_who_comes_between_the_look_and_the_taking_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "s"
    leave_stale(path)
    real = unix._is_alive
    second: list[str] = []

    def look(place: str) -> bool:
        alive = real(place)
        with pytest.raises(OSError) as caught:
            unix._take(place, 0o600)
        second.append(str(caught.value))
        return alive

    def attempt() -> None:
        monkeypatch.setattr(unix, "_is_alive", look)
        with take(path):
            pass

    in_trio(attempt)
    assert len(second) == 1
    assert "another server is just being started" in second[0]


def test_lock_that_its_holder_removed_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, removed = fcntl.flock, []

    def flock(descriptor: int, operation: int) -> None:
        real(descriptor, operation)
        if not removed:  # as if the last holder did it between our open and our flock
            removed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
            os.unlink(removed[0])

    monkeypatch.setattr(fcntl, "flock", flock)
    path = tmp_path / "s.lock"
    descriptor = unix._lock(str(path))
    assert removed == [str(path)]
    assert os.path.samestat(os.fstat(descriptor), path.stat())
    os.close(descriptor)


def test_lock_is_not_followed_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "s.lock").symlink_to(tmp_path / "elsewhere")
    assert why_not(tmp_path / "s").errno == errno.ELOOP
    assert not (tmp_path / "elsewhere").exists()


def test_at_the_end_what_others_put_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "s"

    def attempt() -> None:
        with take(path):
            path.unlink()
            leave_stale(path)

    in_trio(attempt)
    assert path.is_socket()


def test_at_the_end_nothing_is_removed_while_somebody_takes_the_path(tmp_path: Path) -> None:
    sock, kept = unix._take(str(tmp_path / "s"), 0o600)
    with unix._locked(str(tmp_path / "s")):
        unix._remove(str(tmp_path / "s"), kept)
        assert (tmp_path / "s").is_socket()
    unix._remove(str(tmp_path / "s"), kept)
    assert [*tmp_path.iterdir()] == []
    sock.close()
    os.close(kept)


def test_at_the_end_a_path_that_is_gone_is_no_error(tmp_path: Path) -> None:
    def attempt() -> None:
        with take(tmp_path / "s"):
            (tmp_path / "s").unlink()

    in_trio(attempt)
    assert [*tmp_path.iterdir()] == []


# --- serving -------------------------------------------------------------------------------------


@asynccontextmanager
async def served(path: Path, **options: Any) -> AsyncIterator[tuple[Supervisor, str]]:
    """A supervisor behind a Unix socket, and its url."""
    auth = options.pop("auth", Auth(TOKENS))
    async with open_supervisor(registry()) as sup, trio.open_nursery() as nursery:
        with trio.fail_after(30):
            address = await nursery.start(partial(serve_unix, sup, path, auth=auth, **options))
            yield sup, address.url
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_unix_peer(
    path: Path, token: str | None = None, *headers: tuple[str, str]
) -> AsyncIterator[Peer]:
    extra = [(name.encode(), value.encode()) for name, value in headers]
    if token is not None:
        extra.append((b"Authorization", b"Bearer " + token.encode()))
    async with await trio.open_unix_socket(path) as stream, trio.open_nursery() as nursery:
        websocket = await wrap_client_stream(
            nursery, stream, "localhost", "/ws", extra_headers=extra
        )
        yield Peer(websocket)
        nursery.cancel_scope.cancel()


def test_client_connects_by_url(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "a colon:" / "a space, é and %41"
        path.parent.mkdir()
        async with served(path) as (_, url):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            for each in (url, url.removesuffix(":/ws")):
                async with connect(each, token=SECRET) as client:
                    assert (await client.list()).jobs == ()
        assert not path.exists()

    trio.run(main)


def test_pages_are_served(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path / "s"):
            async with await trio.open_unix_socket(tmp_path / "s") as stream:
                status, _ = await RawPeer(stream).http("GET /healthz HTTP/1.0\r\n\r\n")
                assert status == 200
            async with await trio.open_unix_socket(tmp_path / "s") as stream:
                head = "GET /x HTTP/1.1\r\nHost: evil.example\r\n\r\n"
                assert (await RawPeer(stream).http(head))[0] == 421

    trio.run(main)


def test_without_peers_everybody_needs_a_token(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path / "s"), open_unix_peer(tmp_path / "s") as peer:
            with pytest.raises(Refused) as refused:
                await peer.call("session.ping")
            assert refused.value.code == -32015

    trio.run(main)


def test_foreign_client_drives_it(tmp_path: Path) -> None:
    websockets = pytest.importorskip("websockets.sync.client")

    async def main() -> None:
        async with served(tmp_path / "s", peers={ME: ALICE}):

            def drive() -> Any:
                with websockets.unix_connect(str(tmp_path / "s"), "ws://localhost/ws") as websocket:
                    websocket.send('{"jsonrpc": "2.0", "id": 0, "method": "session.hello"}')
                    return json.loads(websocket.recv())

            answer = await trio.to_thread.run_sync(drive)
            assert answer["id"] == 0
            assert "session_id" in answer["result"]

    trio.run(main)


# --- peers ---------------------------------------------------------------------------------------


def test_peer_with_a_trusted_uid_needs_no_token_and_is_on_record(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            served(tmp_path / "s", peers={ME: ALICE}) as (sup, _),
            open_unix_peer(tmp_path / "s") as peer,
        ):
            await peer.call("session.hello", client="says it is root")
            job = (await peer.call("job.start", name="nap"))["job"]
            assert job["requester"] == "alice"
            await sup.cancel(job["id"])

    trio.run(main)


def test_peer_with_another_uid_needs_a_token(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            served(tmp_path / "s", peers={ME + 1: ALICE}),
            open_unix_peer(tmp_path / "s") as peer,
        ):
            with pytest.raises(Refused):
                await peer.call("session.ping")

    trio.run(main)


def test_scopes_of_a_peer_are_those_of_its_token(tmp_path: Path) -> None:
    async def main() -> None:
        watcher = Token("looks", "unused", ["observe"])
        async with (
            served(tmp_path / "s", peers={ME: watcher}),
            open_unix_peer(tmp_path / "s") as peer,
        ):
            await peer.call("session.ping")
            with pytest.raises(Refused) as refused:
                await peer.call("job.start", name="nap")
            assert refused.value.code == -32016

    trio.run(main)


def test_token_of_a_trusted_peer_counts_and_has_to_be_right(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path / "s", peers={ME: ALICE}):
            async with open_unix_peer(tmp_path / "s", SECRET) as peer:
                job = (await peer.call("job.run", name="nap", args={"seconds": 0}))["job"]
                assert job["requester"] == "tester"
            for wrong in ("wrong", ALICE.secret):
                with pytest.RaisesGroup(
                    pytest.RaisesExc(ConnectionRejected, check=lambda exc: exc.status_code == 401)
                ):
                    async with open_unix_peer(tmp_path / "s", wrong):
                        pass

    trio.run(main)


def test_token_that_a_trusted_peer_says_hello_with_counts(tmp_path: Path) -> None:
    async def main() -> None:
        async with served(tmp_path / "s", peers={ME: ALICE}):
            async with open_unix_peer(tmp_path / "s") as peer:
                await peer.call("session.hello", token=SECRET)
                job = (await peer.call("job.run", name="nap", args={"seconds": 0}))["job"]
                assert job["requester"] == "tester"
            async with open_unix_peer(tmp_path / "s") as peer:
                with pytest.raises(Refused) as refused:
                    await peer.call("session.hello", token="wrong")
                assert refused.value.code == -32015
                assert await peer.closed() == 4401

    trio.run(main)


@pytest.mark.parametrize(
    "header",
    [
        ("Origin", "https://console.example"),
        ("Forwarded", "for=192.0.2.1"),
        ("Via", "1.1 proxy"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("X-Real-IP", "192.0.2.1"),
    ],
)
def test_uid_of_a_program_that_passes_on_requests_says_nothing(header: tuple[str, str]) -> None:
    async def main() -> None:
        origins = ["https://console.example"]
        async with open_world(allowed_origins=origins) as world:
            trusting = TrustingWorld(world.sup, world.server)
            async with open_peer(trusting, None) as peer:
                await peer.call("session.ping")
            async with open_peer(trusting, None, headers=[header]) as peer:
                with pytest.raises(Refused) as refused:
                    await peer.call("session.ping")
                assert refused.value.code == -32015
            async with open_peer(trusting, SECRET, headers=[header]) as peer:
                await peer.call("session.ping")

    run(main)


class TrustingWorld(World):
    """Everybody there is Alice."""

    def open_stream(self) -> trio.StapledStream[Any, Any]:
        ours, theirs = trio.testing.memory_stream_pair()
        self.server.nursery.start_soon(partial(self.server.serve_stream, theirs, peer=ALICE))
        return ours


def test_trusted_peers_are_no_strangers_once_they_are_in(tmp_path: Path) -> None:
    async def main() -> None:
        limits = Limits(unauthenticated_sockets=1)
        async with (
            served(tmp_path / "s", peers={ME: ALICE}, limits=limits),
            open_unix_peer(tmp_path / "s") as one,
            open_unix_peer(tmp_path / "s") as two,
        ):
            await two.call("session.ping")
            await one.call("session.ping")

    trio.run(main)


@pytest.mark.parametrize("uid", [-1, 2**32 - 1, True, "0", None])
def test_what_is_no_uid_is_refused(uid: Any) -> None:
    with pytest.raises(ValueError, match="is no uid"):
        Peers({uid: ALICE})


def test_uid_that_may_be_anybodys_is_never_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = int(Path("/proc/sys/kernel/overflowuid").read_text())
    assert peers.overflow_uids() == {65534, kernels}
    for uid in (65534, kernels):
        with pytest.raises(ValueError, match="it may be anybody"):
            Peers({uid: ALICE})
    monkeypatch.setattr(peers, "open", lambda _: io.StringIO("4242\n"), raising=False)
    with pytest.raises(ValueError, match="it may be anybody"):
        Peers({4242: ALICE})


def test_only_unix_sockets_know_their_peers() -> None:
    async def main() -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        everybody = Peers({ME: ALICE, 0: ALICE})
        async with listener:
            port = listener.socket.getsockname()[1]
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                assert everybody.find(stream) is None
        ours, _ = trio.testing.memory_stream_pair()
        assert everybody.find(ours) is None

    trio.run(main)


def test_no_secret_is_shown() -> None:
    assert repr(Peers({7: ALICE})) == "<Peers 7 as alice>"


PING = """
import os, socket, sys
os.setuid(int(sys.argv[2]))
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1])
    sock.sendall(bytes.fromhex(sys.argv[3]))
    print(sock.recv(4096).split(b"\\r\\n")[0].decode())
"""


@pytest.mark.skipif(ME != 0, reason="needs root, to connect as other users")
def test_kernel_tells_who_it_is(tmp_path: Path) -> None:
    path = tmp_path / "s"
    for directory in (tmp_path, *tmp_path.parents[:3]):
        directory.chmod(directory.stat().st_mode | 0o111)

    async def ask(uid: int, head: bytes) -> str:
        command = [sys.executable, "-I", "-c", PING, str(path), str(uid), head.hex()]
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True)
        return done.stdout.decode()

    async def main() -> None:
        page = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"
        async with served(path, peers={12345: ALICE}, mode=0o666):
            assert "404" in await ask(12345, page)
            assert "401" in await ask(12346, page)
            assert "401" in await ask(0, page)
            assert "101" in await ask(12345, handshake(None))
        async with served(path, peers={12345: ALICE}):
            with pytest.raises(subprocess.CalledProcessError) as caught:
                await ask(12345, page)
            assert b"PermissionError" in caught.value.stderr

    trio.run(main)


# --- several places ------------------------------------------------------------------------------


def test_places_share_one_channel(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_supervisor(registry()) as sup, trio.open_nursery() as nursery:
            places = [
                TcpPlace(host="127.0.0.1", port=0),
                UnixPlace(path=tmp_path / "s", peers=Peers({ME: TOKENS[0]})),
            ]
            tcp, local = await nursery.start(partial(serve_places, sup, places, auth=TOKENS[0]))
            assert local.path == str(tmp_path / "s")
            async with (
                connect(tcp.url, token=SECRET) as client,
                open_unix_peer(tmp_path / "s") as peer,
            ):
                greeting = await peer.call("session.hello")
                await peer.ask("job.run", name="nap")
                await peer.call("job.list")
                assert [job.name for job in (await client.list()).jobs] == ["nap"]
            async with open_unix_peer(tmp_path / "s", SECRET) as peer:
                again = await peer.call("session.hello", resume_token=greeting["resume_token"])
                assert again["resumed"] == 1
            sup.shutdown_nowait("cancel")
            await sup.drained.wait()
        assert not (tmp_path / "s").exists()

    trio.run(main)


def test_place_that_cannot_be_had_closes_the_others(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()

    async def main() -> None:
        async with open_supervisor() as sup:
            places = [
                UnixPlace(path=tmp_path / "s"),
                UnixPlace(path=tmp_path / "taken"),
            ]
            with pytest.raises(FileExistsError):
                await serve_places(sup, places, auth=ALICE)

    trio.run(main)
    assert [*tmp_path.iterdir()] == [tmp_path / "taken"]


def test_socket_is_gone_after_a_shutdown_and_after_a_cancel(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_supervisor() as sup, trio.open_nursery() as nursery:
            serve = partial(serve_unix, sup, tmp_path / "s", auth=ALICE)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as inner:
                    await inner.start(serve)
                    scope.cancel()
            assert not (tmp_path / "s").exists()
            await nursery.start(serve)
            assert (tmp_path / "s").is_socket()
            sup.shutdown_nowait("cancel")
        assert [*tmp_path.iterdir()] == []

    trio.run(main)


# --- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "path", "resource"),
    [
        ("ws+unix:///run/s", "/run/s", "/ws"),
        ("ws+unix:///run/s:/ws", "/run/s", "/ws"),
        ("ws+unix:///run/s:/other/one", "/run/s", "/other/one"),
        ("ws+unix:///run/a:b", "/run/a:b", "/ws"),
        ("ws+unix:///run/a%20%25b%3A/c", "/run/a %b:/c", "/ws"),
        ("ws+unix:///run/%FF", "/run/\udcff", "/ws"),
    ],
)
def test_url_of_a_socket(url: str, path: str, resource: str) -> None:
    address = parse_url(url)
    assert address == UnixAddress(url=url, path=path, resource=resource)
    assert address.authority == "localhost"


@pytest.mark.parametrize(
    "url",
    [
        "ws+unix://host/run/s", "ws+unix:///", "ws+unix://", "ws+unix:", "ws+unix:run/s",
        "ws+unix:///run/%00", "ws+unix:///run/", "unix:///run/s", "http://h/ws", "ws://", "",
        "ws://h:x/ws",
    ],
)  # fmt: skip
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(InvalidArguments):
        parse_url(url)


def test_urls_of_the_same_place_are_equal() -> None:
    assert parse_url("ws+unix:///run/s") == parse_url("ws+unix:///run/s:/ws")
    assert parse_url("ws://h:1") == parse_url("ws://h:1/ws") != parse_url("wss://h:1/ws")
    assert isinstance(parse_url("ws://h:1"), TcpAddress)


def test_nobody_at_the_socket(tmp_path: Path) -> None:
    leave_stale(tmp_path / "stale")

    async def main() -> None:
        for name, told in (("missing", "No such file"), ("stale", "Connection refused")):
            with pytest.raises(ConnectionLost, match=told):
                await dial(parse_url(f"ws+unix://{tmp_path}/{name}"), timeout=5)

    trio.run(main)


def test_full_queue_is_not_taken_for_a_connection(tmp_path: Path) -> None:
    async def main() -> None:
        address = parse_url(f"ws+unix://{tmp_path}/s")
        with listening(tmp_path / "s"):
            streams = []
            with pytest.raises(ConnectionLost, match="too many wait"):
                for _ in range(5):
                    streams.append(await dial(address, timeout=5))
            assert streams
            for stream in streams:
                await stream.aclose()

    trio.run(main)


def test_ssl_context_at_an_address_without_tls_is_refused() -> None:
    async def main() -> None:
        import ssl

        for url in ("ws+unix:///run/s", "ws://127.0.0.1:1/ws"):
            with pytest.raises(InvalidArguments, match="not encrypted"):
                await dial(parse_url(url), timeout=5, ssl_context=ssl.create_default_context())

    trio.run(main)
