"""Who gets in, and what those are told who do not; they are refused before anything is touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from server_kit import (
    HANDSHAKE,
    OTHER,
    SECRET,
    RawPeer,
    Refused,
    frame,
    handshake,
    open_peer,
    open_world,
    request,
    run,
)
from trio_websocket import ConnectionRejected

from supervisor._open import open_supervisor
from supervisor._server import Auth, Limits, Token, open_server
from supervisor._wire import SUBPROTOCOL


def knock(head: str | bytes, **options: object) -> tuple[int, str]:
    """The answer to one request head; nothing else may have happened."""

    async def main() -> tuple[int, str]:
        async with open_world(**options) as world:
            status, text = await RawPeer(world.open_stream()).http(head)
            assert world.jobs() == {}
            assert not world.server.sessions
            return status, text

    result: tuple[int, str] = run(main)
    return result


def get(path: str, *headers: str) -> str:
    lines = (
        headers
        if any(h.lower().startswith("host:") for h in headers)
        else (
            "Host: localhost",
            *headers,
        )
    )
    return f"GET {path} HTTP/1.1\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n"


def odd(header: str) -> bytes:
    return handshake().replace(b"\r\n\r\n", b"\r\n" + header.encode("latin-1") + b"\r\n\r\n")


BEARER = f"Authorization: Bearer {SECRET}"


@pytest.mark.parametrize(
    ("head", "status", "told"),
    [
        (get("/healthz"), 200, "ok"),
        (get("/healthz", "Host: anything.example"), 200, "ok"),
        (get("/readyz?verbose"), 200, "ready"),
        (get("/"), 401, "session.hello"),
        (get("/", BEARER), 404, "/ws"),
        (get("/", "Authorization: Bearer wrong"), 401, "token file"),
        (get("/", "Authorization: Basic abc"), 401, "Bearer TOKEN"),
        (get("/", BEARER, BEARER), 401, "Bearer TOKEN"),
        (get("/", "Host: evil.example"), 421, "allowed_hosts"),
        (get("/", "Host: localhost.evil.example"), 421, "allowed_hosts"),
        (get("/", "Origin: https://evil.example"), 403, "allowed_origins"),
        (get("/ws", BEARER), 426, "ws://"),
        (get("/healthz").replace("GET", "POST"), 405, "GET"),
        (get("/healthz", "Content-Length: 3") + "abc", 400, "body"),
        ("nonsense\r\n\r\n", 400, "not an HTTP/1.1 request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "HTTP"),
        (get("/", "X-Long: " + "x" * 17_000), 431, "too long"),
        (handshake("wrong"), 401, "session.hello"),
        (handshake(SECRET, "Origin: https://evil.example"), 403, "allowed_origins"),
        (handshake(SECRET, "Origin: null"), 403, "Origin"),
        (handshake(SECRET, "Sec-WebSocket-Protocol: chat"), 400, SUBPROTOCOL),
        (handshake().replace(b"localhost", b"evil.example"), 421, "localhost"),
        (handshake().replace(b"Version: 13", b"Version: 8"), 400, "13"),
        (handshake().replace(b"HTTP/1.1", b"HTTP/1.0"), 400, "HTTP/1.1"),
        (handshake().replace(b"AQIDBAUGBwgJCgsMDQ4PEC==", b"x"), 400, "Key"),
        (handshake().replace(b"AQIDBAUGBwgJCgsMDQ4PEC==", b"AQIDBAUGBwgJCgsMDQ4P"), 400, "Key"),
        (handshake().replace(b"AQIDBAUGBwgJCgsMDQ4PEC==", b"AQID BAUGBwgJCgsMDQ4PEC=="), 400, "16"),
        (handshake().replace(b"Sec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEC==\r\n", b""), 400, "Key"),
        (odd("Sec-WebSocket-Extensions: \xff"), 400, "sec-websocket-extensions may hold ASCII"),
        (odd("Sec-WebSocket-Protocol: \xff"), 400, "sec-websocket-protocol may hold ASCII"),
        (odd("Connection: Upgrade, \xff"), 400, "connection may hold ASCII"),
        (odd("Connection: close"), 400, "one header 'Connection: Upgrade'"),
        (odd("Upgrade: foo"), 400, "names nothing else"),
        (handshake().replace(b"Upgrade: web", b"Upgrade: foo, web"), 400, "names nothing else"),
        (get("/healthz", "Transfer-Encoding: chunked") + "0\r\n\r\n", 400, "no body"),
        (get("/healthz", "Content-Length: 3"), 400, "no body"),
        (get("/healthz", "Content-Length: 0"), 200, "ok"),
        (get("/", BEARER + "\x00"), 400, "illegal header line"),
        (get("/", "X: y", f"Authorization Bearer {SECRET}"), 400, "illegal header line"),
        (f"{BEARER}\r\nHost: localhost\r\n\r\n", 400, "illegal request line"),
    ],
)
def test_the_door(
    head: str | bytes, status: int, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    got, text = knock(head)
    assert got == status
    assert not caplog.records
    assert told.lower() in text.lower()
    assert SECRET not in text


def test_null_is_no_origin_even_when_it_is_listed() -> None:
    status, _ = knock(handshake(SECRET, "Origin: null"), allowed_origins=["null"])
    assert status == 403


def test_an_origin_and_a_host_can_be_allowed() -> None:
    async def main() -> None:
        async with open_world(
            allowed_origins=["https://console.example"], allowed_hosts=["box.example"]
        ) as world:
            headers = [("Origin", "https://console.example")]
            async with open_peer(world, headers=headers, host="BOX.example:8443") as peer:
                await peer.call("session.ping")

    run(main)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]", "[::1]:9"])
def test_loopback_names_are_ours_with_or_without_a_port(host: str) -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world, host=host) as peer:
            await peer.call("session.ping")

    run(main)


def test_lists_of_names_are_not_single_strings() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match="allowed_origins"):
            async with open_world(allowed_origins="https://console.example"):
                raise AssertionError("never open")

    run(main)


def test_a_subprotocol_is_spoken_if_offered_and_not_needed() -> None:
    async def main() -> None:
        async with open_world() as world:
            async with open_peer(world, subprotocols=["other", SUBPROTOCOL]) as peer:
                assert peer.websocket.subprotocol == SUBPROTOCOL
            async with open_peer(world) as peer:
                assert peer.websocket.subprotocol is None

    run(main)


def test_the_websocket_library_of_a_client_sees_why_it_was_rejected() -> None:
    async def main() -> None:
        async with open_world() as world:
            with pytest.RaisesGroup(ConnectionRejected, flatten_subgroups=True) as info:
                async with open_peer(world, "wrong"):
                    pass
            (rejected,) = info.value.exceptions
            assert isinstance(rejected, ConnectionRejected)
            assert rejected.status_code == 401
            assert b"session.hello" in (rejected.body or b"")

    run(main)


# --- hello ---------------------------------------------------------------------------------------


def test_a_token_can_be_said_in_hello() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world, None) as peer:
            hello = await peer.call("session.hello", token=SECRET)
            assert "admin" in hello["scopes"]
            job = (await peer.call("job.start", name="nap"))["job"]
            assert job["requester"] == "tester"
            await trio.sleep(60)  # the time for a hello is long over
            await peer.call("session.ping")

    run(main)


def test_a_batch_may_begin_with_hello() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world, None) as peer:
            await peer.say(
                [request("session.hello", 1, token=SECRET), request("job.start", 2, name="nap")]
            )
            answers = await peer.hear()
            assert answers[1]["result"]["created"] is True

    run(main)


@pytest.mark.parametrize(
    "message",
    [
        request("job.start", name="nap"),
        request("session.ping"),
        request("session.hello"),
        request("session.hello", token="wrong"),
        request("no.such.method"),
    ],
    ids=["start", "ping", "hello without a token", "hello with a wrong token", "unknown"],
)
def test_whoever_says_anything_else_first_is_told_how_and_put_out(message: object) -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world, None) as peer:
            await peer.say(message)
            error = (await peer.hear())["error"]
            assert error["code"] == -32015
            assert "token" in error["message"]
            assert await peer.closed() == 4401
            assert world.jobs() == {}

    run(main)


def test_whoever_says_nothing_is_put_out_after_five_seconds() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world, None) as peer:
            began = trio.current_time()
            assert await peer.closed() == 4408
            assert trio.current_time() - began == pytest.approx(5)

    run(main)


def test_another_token_on_an_authenticated_connection_is_refused() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world, SECRET) as peer:
            with pytest.raises(Refused) as refused:
                await peer.call("session.hello", token=OTHER)
            assert refused.value.code == -32015
            assert await peer.closed() == 4401

    run(main)


def test_messages_before_hello_are_small() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world, None) as peer:
            await peer.say(request("session.hello", token=SECRET, client="x" * 5000))
            assert await peer.closed() == 1009

    run(main)


def test_fragments_before_hello_are_few() -> None:
    async def main() -> None:
        async with open_world() as world:
            raw = RawPeer(world.open_stream())
            await raw.stream.send_all(handshake(None))
            await raw.head()
            await raw.stream.send_all(frame(b"", 1, final=False))
            await raw.stream.send_all(frame(b"", 0, final=False) * 10_000)
            opcode, payload = await raw.frame()
            assert (opcode, payload[:2]) == (8, (1009).to_bytes(2, "big"))

    run(main)


def test_a_slow_request_head_is_cut_off() -> None:
    async def main() -> None:
        async with open_world() as world:
            raw = RawPeer(world.open_stream())
            began = trio.current_time()
            status, _ = await raw.http(HANDSHAKE)
            assert status == 408
            assert trio.current_time() - began == pytest.approx(5)

    run(main)


def test_strangers_are_few_and_known_clients_do_not_count() -> None:
    async def main() -> None:
        limits = Limits(unauthenticated_sockets=2)
        async with (
            open_world(limits=limits) as world,
            open_peer(world),
            open_peer(world),
            open_peer(world, None) as stranger,
        ):
            await stranger.call("session.hello", token=SECRET)
            silent = []
            for _ in range(3):
                silent.append(RawPeer(world.open_stream()))
                await trio.testing.wait_all_tasks_blocked()
            with trio.fail_after(1):  # the oldest goes, and nobody waits for its time to be over
                assert await silent[0].read_all() == b""
                async with open_peer(world) as peer:
                    await peer.call("session.ping")
                    assert await silent[1].read_all() == b""
                    assert (await silent[2].http(get("/healthz")))[0] == 200
            await stranger.call("session.ping")

    run(main)


# --- tokens --------------------------------------------------------------------------------------


def test_a_token_never_shows_its_secret() -> None:
    token = Token("me", "s3cret")
    assert "s3cret" not in repr(token)
    assert "s3cret" not in repr(Auth([token]))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Auth([]),
        lambda: Auth([Token("a", "same"), Token("b", "same")]),
        lambda: Token("a", ""),
        lambda: Token("a", "two words"),
        lambda: Token("a", "ünprintable"),
        lambda: Token("a", "b", ["fly"]),
    ],
)
def test_tokens_that_cannot_work_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError):
        make()


def test_scopes_are_a_collection() -> None:
    with pytest.raises(TypeError):
        Token("a", "b", "admin")


def test_the_right_token_is_found_and_no_other() -> None:
    one, two = Token("one", "111"), Token("two", "222")
    auth = Auth([one, two])
    assert auth.find("111") is one
    assert auth.find("222") is two
    assert auth.find("1112") is None
    assert auth.find("\ud800") is None


def test_readyz_says_when_no_jobs_are_taken() -> None:
    async def main() -> None:
        async with open_world() as world:
            await world.sup.start(trio.sleep, 10)
            world.sup.shutdown_nowait("drain")
            status, _ = await RawPeer(world.open_stream()).http(get("/readyz"))
            assert status == 503
            status, _ = await RawPeer(world.open_stream()).http(get("/healthz"))
            assert status == 200

    run(main)


def test_what_comes_with_the_head_is_not_lost() -> None:
    async def main() -> None:
        async with open_world() as world:
            raw = RawPeer(world.open_stream())
            await raw.stream.send_all(handshake() + frame(request("session.ping", 9)))
            assert (await raw.head()).startswith(b"HTTP/1.1 101")
            assert json.loads((await raw.frame())[1])["id"] == 9
            await raw.stream.aclose()

    run(main)


@pytest.mark.parametrize("auth", ["let-me-in", ["let-me-in"], None])
def test_a_server_takes_tokens_and_not_their_secrets(auth: Any) -> None:
    async def main() -> None:
        async with open_supervisor() as sup:
            with pytest.raises(TypeError, match=r"supervisor\.Token\(name, secret\)"):
                async with open_server(sup, auth=auth):
                    pass

    run(main)
