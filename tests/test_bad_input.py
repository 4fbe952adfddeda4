"""What clients get wrong, over a real port: a number, a kind, a place, and what to do about it.

Each is answered, or the connection closed with the right code; the server and, unless it was
closed, the connection live on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from hostile_kit import bounded
from server_kit import SECRET, TOKENS, Peer, RawPeer, Refused, handshake, open_tcp_peer, request
from server_kit import registry as jobs

from supervisor import Address, Auth, Limits, Supervisor, open_supervisor, serve
from supervisor._wire import CODES, SUBPROTOCOL


@asynccontextmanager
async def open_served(**limits: Any) -> AsyncIterator[tuple[Address, Supervisor]]:
    """A server; when the block ends it must still serve."""
    async with open_supervisor(jobs()) as sup, trio.open_nursery() as nursery:
        start = partial(serve, sup, auth=Auth(TOKENS), limits=Limits(**limits))
        address: Address = await nursery.start(start)
        yield address, sup
        async with open_tcp_peer(address) as peer:
            await peer.call("session.ping")
        nursery.cancel_scope.cancel()


async def refused(peer: Peer, message: Any, id: Any = 1) -> Refused:
    """Say this; the refusal, after which the connection lives on."""
    await peer.say(message)
    while "method" in (answer := await peer.hear()):
        pass
    assert answer["id"] == id
    assert "result" not in answer
    await peer.call("session.ping")
    return Refused(answer["error"])


@pytest.mark.parametrize(
    ("message", "kind", "path", "told"),
    [
        pytest.param(
            request("session.hello", token=SECRET),
            "invalid_request",
            "$.method",
            "once|already",
            id="a second hello",
        ),
        pytest.param(
            [request("session.ping", id=n) for n in range(10_001)],
            "invalid_request",
            "$",
            "100 is the limit, send several",
            id="a batch of 10,001",
        ),
        pytest.param(
            request("events.unsubscribe", subscription_id="e7"),
            "invalid_params",
            "$.params.subscription_id",
            "'e7' is open on this connection",
            id="unsubscribe from nothing",
        ),
        pytest.param(
            request("events.subscribe", filter={"stat": "running"}),
            "invalid_params",
            "$.params.filter.stat",
            "job_ids, labels, name, parent_id, state would do",
            id="a filter with an unknown field",
        ),
        pytest.param(
            request("events.subscribe", filter={"state": "dead"}),
            "invalid_params",
            "$.params.filter.state",
            "one of .*running",
            id="a filter with an unknown state",
        ),
        pytest.param(
            request("events.subscribe", filter="running"),
            "invalid_params",
            "$.params.filter",
            "an object with job_ids, ",
            id="a filter that is none",
        ),
        pytest.param(
            request("job.cancel_many", filter={"stat": "running"}),
            "invalid_params",
            "$.params.filter.stat",
            "would do",
            id="cancel_many with an unknown field",
        ),
        pytest.param(
            request("events.subscribe", since={"instance": "another", "seq": 0}),
            "replay_gone",
            None,
            "another instance; list the jobs again",
            id="since of another instance",
        ),
        pytest.param(
            request("events.subscribe", since={"seq": 0}),
            "invalid_params",
            "$.params.since",
            "since lacks instance",
            id="since without an instance",
        ),
        pytest.param(
            request("events.subscribe", since={"instance": "x", "seq": -1}),
            "invalid_params",
            "$.params.since.seq",
            "0 or more",
            id="since before the beginning",
        ),
        *(
            pytest.param(
                request(method, limit=limit, **params),
                "invalid_params",
                "$.params.limit",
                f"a whole number from 1 to {most}, not the number {limit}",
                id=f"{method} with a limit of {limit:,}",
            )
            for method, most, params in [
                ("job.list", 1000, {}),
                ("job.logs", 10_000, {"job_id": "one"}),
            ]
            for limit in (0, -1, most + 1, 1_000_000)
        ),
    ],
)
def test_it_is_answered_and_the_connection_lives(
    message: Any, kind: str, path: str | None, told: str
) -> None:
    async def main() -> None:
        async with open_served() as (address, sup), open_tcp_peer(address) as peer:
            await peer.call("session.hello", client="the first")
            await peer.call("job.start", name="nap", job_id="one")
            id = None if isinstance(message, list) else 1
            problem = await refused(peer, message, id)
            assert problem.data["kind"] == kind
            assert problem.code == CODES[kind]
            assert problem.path == path
            with pytest.raises(Refused, match=told):
                raise problem
            assert len(sup.list_nowait()) == 1

    bounded(main)


def test_since_beyond_the_head_is_told_where_the_head_is() -> None:
    async def main() -> None:
        async with open_served() as (address, sup), open_tcp_peer(address) as peer:
            await peer.call("job.start", name="nap")
            since = {"instance": sup.instance, "seq": sup.head_seq + 1}
            problem = await refused(peer, request("events.subscribe", since=since))
            assert (problem.code, problem.data["kind"]) == (-32010, "replay_gone")
            assert problem.data["instance"] == sup.instance
            assert problem.data["head_seq"] == sup.head_seq
            assert problem.data["oldest_seq"] == 1
            assert "list the jobs again" in str(problem)
            # The head itself is fine: everything after it.
            since["seq"] = sup.head_seq
            assert (await peer.call("events.subscribe", since=since))["from_seq"] == sup.head_seq

    bounded(main)


def test_another_instance_is_told_which_one_this_is() -> None:
    async def main() -> None:
        async with open_served() as (address, sup), open_tcp_peer(address) as peer:
            since = {"instance": "another", "seq": 0}
            problem = await refused(peer, request("events.subscribe", since=since))
            assert problem.data["instance"] == sup.instance
            assert problem.data["head_seq"] == sup.head_seq
            assert not problem.data["retryable"]

    bounded(main)


@pytest.mark.parametrize("filter", [{"job_ids": []}, {"job_ids": ["nobody"]}, {"state": []}])
def test_a_subscription_to_nothing_hears_nothing(filter: dict[str, Any]) -> None:
    """It is no mistake: the jobs may come later. What it is not is a subscription to everything."""

    async def main() -> None:
        async with open_served() as (address, _), open_tcp_peer(address) as peer:
            await peer.call("events.subscribe", filter=filter)
            everything = await peer.call("events.subscribe")
            await peer.call("job.start", name="nap", job_id="one")
            await peer.call("job.cancel", job_id="one", wait="finished")
            # Both share one order of events: what the first would have heard, it has heard by now.
            await peer.event("job.finished")
            await peer.call("session.ping")
            heard = {params["subscription_id"] for _, params in peer.notifications}
            assert heard == {everything["subscription_id"]}

    bounded(main)


def test_an_id_that_is_in_flight_is_refused_and_its_first_request_is_answered() -> None:
    async def main() -> None:
        async with open_served() as (address, _), open_tcp_peer(address) as peer:
            await peer.call("job.start", name="nap", job_id="one")
            await peer.say(request("job.wait", id=1, job_id="one"))
            problem = await refused(peer, request("session.ping", id=1))
            assert (problem.code, problem.data["kind"]) == (-32600, "invalid_request")
            assert problem.path == "$.id"
            assert "is under way" in str(problem)
            await peer.call("job.cancel", job_id="one")
            assert (await peer.answer(1))["job"]["state"] == "cancelled"

    bounded(main)


def test_an_unknown_subprotocol_is_told_ours() -> None:
    async def main() -> None:
        async with open_served() as (address, _):
            async with await trio.open_tcp_stream(address.host, address.port) as stream:
                head = handshake(SECRET, "Sec-WebSocket-Protocol: v2.jsonrpc.supervisor, chat")
                status, text = await RawPeer(stream).http(head)
            assert status == 400
            assert f"offer {SUBPROTOCOL}, or none" in text

    bounded(main)


def test_hello_too_late_is_closed_with_4408() -> None:
    async def main() -> None:
        async with (
            open_served(hello_seconds=0.1) as (address, _),
            await trio.open_tcp_stream(address.host, address.port) as stream,
        ):
            raw = RawPeer(stream)
            await stream.send_all(handshake(None))
            assert b" 101 " in await raw.head()
            opcode, payload = await raw.frame()
            assert (opcode, int.from_bytes(payload[:2], "big")) == (8, 4408)
            assert b"session.hello" in payload

    bounded(main)


@pytest.mark.parametrize("token", ["never-seen", "x" * 1024])
def test_a_wrong_resume_token_is_told_and_the_session_is_a_new_one(token: str) -> None:
    async def main() -> None:
        async with open_served() as (address, _), open_tcp_peer(address) as peer:
            hello = await peer.call("session.hello", resume_token=token)
            assert hello["resumed"] == 0
            assert token not in hello["resume_error"]
            assert "list" in hello["resume_error"] or "start" in hello["resume_error"]
            await peer.call("job.start", name="nap")

    bounded(main)


def test_a_resume_token_that_has_expired_is_told() -> None:
    async def main() -> None:
        async with open_served(linger_seconds=0.05) as (address, sup):
            async with open_tcp_peer(address) as peer:
                token = (await peer.call("session.hello"))["resume_token"]
                started = await peer.call("job.start", name="nap", on_disconnect="linger")
            await sup.wait(started["job"]["id"])
            async with open_tcp_peer(address) as peer:
                hello = await peer.call("session.hello", resume_token=token)
                assert (hello["resumed"], "resume_error" in hello) == (0, True)

    bounded(main)


def test_a_right_resume_token_is_no_error() -> None:
    async def main() -> None:
        async with open_served() as (address, sup):
            async with open_tcp_peer(address) as peer:
                token = (await peer.call("session.hello"))["resume_token"]
                started = await peer.call("job.start", name="nap", on_disconnect="linger")
            async with open_tcp_peer(address) as peer:
                hello = await peer.call("session.hello", resume_token=token)
                assert (hello["resumed"], hello.get("resume_error")) == (1, None)
                assert not sup.get_nowait(started["job"]["id"]).state.is_final

    bounded(main)
