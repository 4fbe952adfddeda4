"""TLS: handshakes that fail, drag on or break off; certificates that do not fit; a polite end."""

from __future__ import annotations

import datetime
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
import trustme
from cryptography.hazmat.primitives import serialization
from server_kit import (
    SECRET,
    TOKENS,
    RawPeer,
    World,
    frame,
    handshake,
    open_peer,
    open_world,
    registry,
    request,
    run,
)

from supervisor import ConnectionLost, open_supervisor
from supervisor._client.connect import connect
from supervisor._client.dial import dial, parse_url
from supervisor._server import Address, Auth, Limits, serve
from supervisor.cli.certificates import (
    context_for_certificate,
    context_of_authority,
    read_certificate,
    server_context,
)
from supervisor.cli.exits import CliError

PAGE = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
Stream = trio.StapledStream[Any, Any]


@attrs.frozen
class Files:
    """Certificates as users have them."""

    directory: Path

    def write(self, name: str, data: bytes, mode: int = 0o600) -> Path:
        path = self.directory / name
        path.write_bytes(data)
        path.chmod(mode)
        return path


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


# Making keys takes its time.
AUTHORITY = trustme.CA()
LOCAL = AUTHORITY.issue_cert("localhost", "127.0.0.1")
ELSEWHERE = AUTHORITY.issue_cert("elsewhere.example")
STRANGER = trustme.CA().issue_cert("localhost", "127.0.0.1")


def pem(certificate: trustme.LeafCert) -> bytes:
    return b"".join(blob.bytes() for blob in certificate.cert_chain_pems)


def for_server(certificate: trustme.LeafCert = LOCAL) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


def for_client() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


# --- over memory, on a clock that jumps ----------------------------------------------------------


@attrs.frozen
class TlsWorld(World):
    """A server whose connections speak TLS."""

    context: ssl.SSLContext = attrs.field(factory=for_server)

    def open_raw(self) -> Stream:
        """The client's end, below TLS."""
        ours, theirs = trio.testing.memory_stream_pair()
        stream = trio.SSLStream(theirs, self.context, server_side=True, https_compatible=True)
        self.server.nursery.start_soon(self.server.serve_stream, stream)
        return ours

    def open_stream(self) -> Any:
        """The client's end, strict about how TLS ends."""
        return trio.SSLStream(self.open_raw(), for_client(), server_hostname="localhost")


@asynccontextmanager
async def open_tls_world(**options: Any) -> AsyncIterator[TlsWorld]:
    async with open_world(**options) as world:
        yield TlsWorld(world.sup, world.server)


def hello() -> bytes:
    """How a client begins."""
    sent = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        for_client().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost").do_handshake()
    return sent.read()


async def still_serves(world: TlsWorld) -> None:
    async with open_peer(world) as peer:
        await peer.call("session.ping")


def test_channel_works_over_tls() -> None:
    async def main() -> None:
        async with open_tls_world() as world, open_peer(world) as peer:
            text = "x" * 500_000  # more than one record, in both directions
            args = {"seconds": 1, "value": text}
            answer = await peer.call("job.run", name="nap", args=args)
            assert answer["job"]["result"] == text

    run(main)


def test_many_small_messages_come_whole_and_in_order() -> None:
    async def main() -> None:
        async with open_tls_world() as world, open_peer(world) as peer:
            ids = [await peer.ask("session.ping", id=number) for number in range(300)]
            for id in ids:
                assert (await peer.hear())["id"] == id

    run(main)


@pytest.mark.parametrize("bytes_sent", [0, 1, 5, 100])
def test_handshake_that_never_ends_is_cut_off(bytes_sent: int) -> None:
    async def main() -> None:
        async with open_tls_world() as world:
            raw = RawPeer(world.open_raw())
            began = trio.current_time()
            await raw.stream.send_all(hello()[:bytes_sent])
            await raw.read_all()
            assert 5 <= trio.current_time() - began <= 7
            await still_serves(world)

    run(main)


def test_handshake_that_drips_is_cut_off() -> None:
    async def main() -> None:
        async with open_tls_world() as world:
            raw = world.open_raw()
            began = trio.current_time()
            with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
                for byte in hello():
                    await raw.send_all(bytes((byte,)))
                    await trio.sleep(0.5)
            assert trio.current_time() - began <= 7

    run(main)


def test_handshake_and_head_have_one_deadline() -> None:
    async def main() -> None:
        async with open_tls_world() as world:
            stream = world.open_stream()
            began = trio.current_time()
            await trio.sleep(4)
            await stream.do_handshake()
            status, _ = await RawPeer(stream).http("GET /healthz HTTP/1.1\r\n")
            assert status == 408
            assert trio.current_time() - began == pytest.approx(5)

    run(main)


def test_handshakes_count_among_the_strangers() -> None:
    async def main() -> None:
        async with open_tls_world(limits=Limits(unauthenticated_sockets=2)) as world:
            silent = []
            for _ in range(3):
                silent.append(RawPeer(world.open_raw()))
                await trio.testing.wait_all_tasks_blocked()
            with trio.fail_after(1):  # the oldest goes, and nobody waits for its time to be over
                assert await silent[0].read_all() == b""
                await still_serves(world)

    run(main)


@pytest.mark.parametrize("told", ["the beginning", "garbage", "nothing", "a record too long"])
def test_peer_that_breaks_off_harms_nobody(told: str, caplog: pytest.LogCaptureFixture) -> None:
    says = {
        "the beginning": hello()[:50],
        "garbage": b"\0\xff" * 500,
        "nothing": b"",
        "a record too long": b"\x16\x03\x01\xff\xff" + b"\x01" * 66000,
    }

    async def main() -> None:
        async with open_tls_world() as world:
            raw = world.open_raw()
            try:
                await raw.send_all(says[told])
                await raw.aclose()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            await trio.testing.wait_all_tasks_blocked()
            await still_serves(world)

    run(main)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_plain_http_is_told_to_speak_tls(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with open_tls_world() as world:
            for head in (PAGE, handshake().decode()):
                began = trio.current_time()
                status, text = await RawPeer(world.open_raw()).http(head)
                assert status == 400
                assert "this port speaks TLS: connect with wss://" in text
                assert trio.current_time() == began
            await still_serves(world)

    run(main)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_end_is_agreed_upon_and_takes_no_time() -> None:
    async def main() -> None:
        async with open_tls_world() as world:
            began = trio.current_time()
            stream = world.open_stream()  # raises if TLS ends without a close_notify
            status, _ = await RawPeer(stream).http(PAGE)
            assert status == 200
            await stream.aclose()
            assert trio.current_time() == began

    run(main)


def test_client_that_waits_for_the_server_to_close_waits_not_long() -> None:
    async def main() -> None:
        async with open_tls_world() as world:
            raw = RawPeer(world.open_stream())
            await raw.stream.send_all(handshake())
            await raw.head()
            began = trio.current_time()
            await raw.stream.send_all(frame(b"\x03\xe8", 8))
            assert (await raw.frame())[0] == 8
            assert await raw.read_all() == b""
            await raw.stream.aclose()
            assert trio.current_time() == began

    run(main)


def test_peer_that_ignores_the_end_is_left_within_a_second() -> None:
    async def main() -> None:
        async with open_tls_world() as world:
            raw = world.open_raw()
            stream = trio.SSLStream(raw, for_client(), server_hostname="localhost")
            await stream.send_all(PAGE.encode())
            began = trio.current_time()
            while await raw.receive_some():  # below TLS, so nobody answers
                pass
            assert trio.current_time() - began == pytest.approx(1)

    run(main)


def test_shutdown_is_told_over_tls() -> None:
    async def main() -> None:
        async with open_tls_world() as world, open_peer(world) as peer:
            await peer.call("session.ping")
            world.server.nursery.start_soon(world.server.close)
            assert await peer.closed() == 1001

    run(main)


def test_what_comes_with_the_head_in_one_record_is_not_lost() -> None:
    async def main() -> None:
        async with open_tls_world() as world:
            raw = RawPeer(world.open_stream())
            await raw.stream.send_all(handshake() + frame(request("session.ping", 9)))
            assert (await raw.head()).startswith(b"HTTP/1.1 101")
            assert b'"id":9' in (await raw.frame())[1].replace(b" ", b"")

    run(main)


# --- over sockets --------------------------------------------------------------------------------


@asynccontextmanager
async def served(
    context: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[Address]:
    async with open_supervisor(registry()) as sup, trio.open_nursery() as nursery:
        with trio.fail_after(30):
            yield await nursery.start(
                partial(serve, sup, auth=Auth(TOKENS), ssl_context=context, **options)
            )
        nursery.cancel_scope.cancel()


def test_client_connects_by_wss() -> None:
    async def main() -> None:
        async with served(for_server()) as address:
            assert address.url == f"wss://127.0.0.1:{address.port}/ws"
            assert address.http_url == f"https://127.0.0.1:{address.port}"
            async with connect(address.url, token=SECRET, ssl_context=for_client()) as client:
                assert (await client.list()).jobs == ()

    trio.run(main)


def test_foreign_client_connects_by_wss() -> None:
    websockets = pytest.importorskip("websockets.sync.client")

    async def main() -> None:
        async with served(for_server()) as address:

            def drive() -> str:
                headers = {"Authorization": f"Bearer {SECRET}"}
                with websockets.connect(
                    address.url, ssl=for_client(), additional_headers=headers
                ) as websocket:
                    websocket.send('{"jsonrpc": "2.0", "id": "a", "method": "session.ping"}')
                    return str(websocket.recv())

            assert '"id":"a"' in await trio.to_thread.run_sync(drive)

    trio.run(main)


def test_answer_is_not_lost_if_the_client_says_more_than_is_read() -> None:
    async def main() -> None:
        async with served(for_server()) as address:
            head = b"POST /ws HTTP/1.1\r\nHost: localhost\r\nContent-Length: 400000\r\n\r\n"

            def ask() -> bytes:
                with (
                    socket.create_connection((address.host, address.port), 10) as sock,
                    for_client().wrap_socket(sock, server_hostname="localhost") as stream,
                ):
                    stream.sendall(head + b"x" * 400_000)
                    answer = b""
                    while data := stream.recv():
                        answer += data
                    return answer

            for _ in range(5):
                assert b"requests here have no body" in await trio.to_thread.run_sync(ask)

    trio.run(main)


async def refusal(url: str, context: ssl.SSLContext | None, timeout: float = 10) -> str:
    with pytest.raises(ConnectionLost) as caught:
        await dial(parse_url(url), timeout=timeout, ssl_context=context)
    return str(caught.value)


def test_certificate_that_is_not_trusted() -> None:
    async def main() -> None:
        async with served(for_server(STRANGER)) as address:
            told = await refusal(address.url, for_client())
            assert "the certificate there is not trusted: unable to get local issuer" in told
            assert "--tls-ca" in told
            assert "not trusted" in await refusal(address.url, None)

    trio.run(main)


def test_certificate_of_another_name() -> None:
    async def main() -> None:
        async with served(for_server(ELSEWHERE)) as address:
            told = await refusal(address.url, for_client())
            assert "certificate is not valid for '127.0.0.1'" in told
            assert "a name in its certificate" in told

    trio.run(main)


def test_server_without_tls() -> None:
    async def main() -> None:
        async with served() as address:
            told = await refusal(address.url.replace("ws:", "wss:"), for_client())
            assert "does that server speak TLS?" in told

    trio.run(main)


async def silence(stream: trio.SocketStream, leave: bool) -> None:
    async with stream:
        await stream.receive_some(1)
        if not leave:
            await trio.sleep_forever()


@pytest.mark.parametrize(
    ("leave", "told"), [(False, "does not answer in time"), (True, "during the TLS handshake")]
)
def test_server_that_does_not_shake_hands(leave: bool, told: str) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(
                partial(trio.serve_tcp, partial(silence, leave=leave), 0, host="127.0.0.1")
            )
            url = f"wss://127.0.0.1:{listener.socket.getsockname()[1]}/ws"
            timeout = 10 if leave else 0.05
            text = await refusal(url, for_client(), timeout)
            assert told in text or "unexpected eof" in text
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_failed_handshake_leaves_no_socket_open(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        opened: list[trio.SocketStream] = []
        real = trio.open_tcp_stream

        async def opens(*args: Any) -> trio.SocketStream:
            opened.append(await real(*args))
            return opened[-1]

        async with served(for_server(STRANGER)) as address:
            monkeypatch.setattr(trio, "open_tcp_stream", opens)
            await refusal(address.url, for_client())
            assert [stream.socket.fileno() for stream in opened] == [-1]

    trio.run(main)


def test_context_for_clients_cannot_serve() -> None:
    async def main() -> None:
        async with open_supervisor() as sup:
            with pytest.raises(ValueError, match="made for clients"):
                await serve(sup, auth=Auth(TOKENS), ssl_context=ssl.create_default_context())

    trio.run(main)


def test_handshakes_that_hang_do_not_keep_others_out() -> None:
    async def main() -> None:
        async with served(for_server()) as address:
            silent, beginning = [], hello()[:20]
            for _ in range(200):
                sock = socket.create_connection((address.host, address.port))
                sock.sendall(beginning)
                silent.append(sock)
            async with connect(address.url, token=SECRET, ssl_context=for_client()) as client:
                await client.list()
            for sock in silent:
                sock.close()

    trio.run(main)


# --- certificates in files -----------------------------------------------------------------------


def test_files_of_a_server(files: Files) -> None:
    certificate = files.write("cert", pem(LOCAL), 0o644)
    key = files.write("key", LOCAL.private_key_pem.bytes())
    context = server_context(certificate, key)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    shake_hands(context, for_client())


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost") -> None:
    """A handshake without a connection; raises what the client raises."""
    a, b = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = (
        client.wrap_bio(a, b, server_hostname=name),
        server.wrap_bio(b, a, server_side=True),
    )
    for _ in range(3):
        for side in sides:
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    assert sides[0].version() is not None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_that_are_spoken(files: Files, version: ssl.TLSVersion) -> None:
    context = server_context(
        files.write("cert", pem(LOCAL)), files.write("key", LOCAL.private_key_pem.bytes())
    )
    client = for_client()
    client.minimum_version = client.maximum_version = version
    shake_hands(context, client)


def encrypted(certificate: trustme.LeafCert) -> bytes:
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )


KEY = LOCAL.private_key_pem.bytes()


@pytest.mark.parametrize(
    ("certificate", "key", "code", "told"),
    [
        (pem(LOCAL), ELSEWHERE.private_key_pem.bytes(), 2, "is not that of the first certificate"),
        (pem(LOCAL), encrypted(LOCAL), 2, "is encrypted"),
        (pem(LOCAL), None, 77, "cannot read key file"),
        (None, KEY, 77, "cannot read certificate file"),
        (pem(LOCAL), b"", 2, "holds no private key"),
        (pem(LOCAL), pem(LOCAL), 2, "holds no private key"),
        (KEY, KEY, 2, "holds no certificate"),
        (b"\xff\0", KEY, 2, "holds no certificate"),
        (pem(LOCAL), KEY[:200], 2, "cannot be used"),
        (pem(LOCAL)[:200] + b"\n-----END CERTIFICATE-----\n", KEY, 2, "cannot be used"),
    ],
)
def test_files_that_cannot_be_used(
    files: Files, certificate: bytes | None, key: bytes | None, code: int, told: str
) -> None:
    for name, data in (("cert", certificate), ("key", key)):
        if data is not None:
            files.write(name, data)
    with pytest.raises(CliError, match=told) as caught:
        server_context(files.directory / "cert", files.directory / "key")
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o601])
def test_key_that_others_can_touch_is_refused(files: Files, mode: int) -> None:
    certificate, key = files.write("cert", pem(LOCAL)), files.write("key", KEY, mode)
    with pytest.raises(CliError, match="chmod 600") as caught:
        server_context(certificate, key)
    assert caught.value.code == 77


@pytest.mark.parametrize("which", ["cert", "key"])
def test_directory_or_pipe_is_no_file(files: Files, which: str) -> None:
    import os

    for make in (Path.mkdir, os.mkfifo):
        for name, data in (("cert", pem(LOCAL)), ("key", KEY)):
            if name != which:
                files.write(name, data)
        make(files.directory / which)
        with pytest.raises(CliError):
            server_context(files.directory / "cert", files.directory / "key")
        (files.directory / which).rename(files.directory / f"old-{make.__name__}")


def test_key_is_read_from_the_file_that_was_looked_at(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    from supervisor.cli import certificates

    certificate, key = files.write("cert", pem(LOCAL)), files.write("key", KEY)
    real = certificates.open_private

    def swapped(path: Path, kind: Any) -> int:
        descriptor = real(path, kind)
        path.rename(path.with_name("looked-at"))
        files.write("key", ELSEWHERE.private_key_pem.bytes())
        return descriptor

    monkeypatch.setattr(certificates, "open_private", swapped)
    shake_hands(server_context(certificate, key), for_client())


@pytest.mark.parametrize("make", [lambda: AUTHORITY.cert_pem.bytes(), lambda: pem(LOCAL)])
def test_clients_trust_the_authority_or_the_certificate_itself(
    files: Files, make: Callable[[], bytes]
) -> None:
    context = context_of_authority(files.write("ca", make(), 0o644))
    shake_hands(for_server(), context)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(for_server(STRANGER), context)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(for_server(), context, "another")


def test_file_of_an_authority_trusts_nobody_else(files: Files) -> None:
    context = context_of_authority(files.write("ca", AUTHORITY.cert_pem.bytes()))
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize(
    ("data", "code"),
    [(None, 77), (b"", 2), (b"\xff", 2), (KEY, 2), (pem(LOCAL)[:90] + pem(LOCAL)[-30:], 2)],
)
def test_file_of_no_authority(files: Files, data: bytes | None, code: int) -> None:
    if data is not None:
        files.write("ca", data)
    with pytest.raises(CliError, match="--tls-ca") as caught:
        context_of_authority(files.directory / "ca")
    assert caught.value.code == code


def test_exactly_one_certificate_is_trusted_whatever_is_in_it(files: Files) -> None:
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    expired = AUTHORITY.issue_cert("elsewhere.example", not_before=past, not_after=past)
    for ours in (LOCAL, ELSEWHERE, expired, STRANGER):
        written = read_certificate(files.write("cert", pem(ours)))
        assert written.count("BEGIN CERTIFICATE") == 1
        context = context_for_certificate(written)
        shake_hands(for_server(ours), context)
        for other in (AUTHORITY.issue_cert("localhost"), STRANGER):
            if other is not ours:
                with pytest.raises(ssl.SSLCertVerificationError):
                    shake_hands(for_server(other), context)
