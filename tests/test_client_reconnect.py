"""A client whose connection breaks: what it repeats, where it goes on, when it gives up."""

from __future__ import annotations

import math
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
import trio_websocket
from client_kit import (
    Changes,
    Peer,
    after_hello,
    by_hand,
    job,
    open_site,
    registry,
    run,
    serve_and_hang,
    started,
    subscribed,
    until,
)
from turns import in_turn

from supervisor import (
    Client,
    Connected,
    ConnectionLost,
    Disconnected,
    EventsLost,
    Forbidden,
    InvalidArguments,
    JobEvent,
    JobFilter,
    JobNotFound,
    JobRequest,
    LogEntry,
    LogsLagged,
    Overloaded,
    Registry,
    ReplayGone,
    Unauthenticated,
    UnknownJobName,
    VersionNotSupported,
)
from supervisor._client.calls import SENT_AT_MOST, may_repeat
from supervisor._client.channel import OVERLOADED_AT_MOST
from supervisor._client.connect import connect_with

LIST = {"jobs": [], "instance": "i", "seq": 4}


async def hang_up(peer: Peer) -> None:
    """Say hello and be gone."""
    await peer.hello()


# --- the connection -------------------------------------------------------------------------------


def test_a_broken_connection_is_made_anew() -> None:
    async def main() -> None:
        changes = Changes()
        async with open_site(registry()) as site, site.connect(on_change=changes.append) as client:
            handle = await client.start("idle", job_id="a")
            site.cut()
            assert (await client.get("a")).id == handle.id
            assert len(site.streams) == 2
        assert changes.kinds == "CdC"
        first, loss, second = changes
        assert isinstance(first, Connected) and isinstance(second, Connected)
        assert isinstance(loss, Disconnected) and "ended" in loss.reason
        assert first.session_id != second.session_id
        assert (first.outage, second.outage) == (None, pytest.approx(0.05))

    run(main)


def test_the_session_before_is_resumed() -> None:
    hellos: list[dict[str, Any]] = []

    async def script(peer: Peer) -> None:
        hellos.append(await peer.hello())

    async def main() -> None:
        async with by_hand(script, script, after_hello(Peer.idle), resume_token="old") as (_, hand):
            await trio.sleep(1)
            assert len(hand.dialled) == 3
        assert [hello["resume_token"] for hello in hellos] == ["old", "token-1"]

    run(main)


def test_lingering_jobs_outlive_the_connection() -> None:
    async def main() -> None:
        changes = Changes()
        async with open_site(registry()) as site, site.connect(on_change=changes.append) as client:
            await client.start("idle", job_id="a", on_disconnect="linger")
            site.cut()
            await trio.sleep(60)
            assert (await client.get("a")).cause is None
            last = changes[-1]
            assert isinstance(last, Connected) and last.resumed == 1

    run(main)


def test_the_first_connection_has_to_stand_at_once() -> None:
    async def main() -> None:
        async def dial() -> trio.abc.Stream:
            dialled.append(trio.current_time())
            raise OSError("nobody is at home")

        dialled: list[float] = []
        changes = Changes()
        with pytest.raises(ConnectionLost, match="nobody is at home"):
            async with connect_with(dial, on_change=changes.append):
                pass
        assert len(dialled) == 1 and changes == []

    run(main)


def test_a_first_connection_that_breaks_before_hello_is_none() -> None:
    async def script(peer: Peer) -> None:
        await peer.request("session.hello")

    async def main() -> None:
        with pytest.RaisesGroup(pytest.RaisesExc(ConnectionLost, match="ended")):
            async with by_hand(script):
                pass

    run(main)


def test_an_outage_that_lasts_is_given_up() -> None:
    async def main() -> None:
        changes = Changes()
        async with (
            open_site(registry()) as site,
            site.connect(reconnect_timeout=30.0, on_change=changes.append) as client,
        ):
            await client.start("idle", job_id="a")
            site.down = True
            began = trio.current_time()
            site.cut()
            with pytest.raises(ConnectionLost, match=r"no other for 30 s.*nobody is at home"):
                await client.wait("a")
            assert trio.current_time() - began == pytest.approx(30.0)
            with pytest.raises(ConnectionLost, match="no other for 30 s"):
                await client.get("a")
            assert "lost" in repr(client)
        assert changes.kinds == "CdD"

    run(main)


def test_watches_are_told_when_there_is_no_hope() -> None:
    async def main() -> None:
        async with open_site(registry()) as site, site.connect(reconnect_timeout=5.0) as client:
            async with client.watch() as events:
                site.down = True
                site.cut()
                with pytest.raises(ConnectionLost, match="watch from"):
                    await anext(events)
            with pytest.raises(ConnectionLost):
                async with client.watch():
                    pass

    run(main)


def test_without_patience_there_is_only_one_connection() -> None:
    async def main() -> None:
        changes = Changes()
        async with (
            open_site(registry()) as site,
            site.connect(reconnect_timeout=0, on_change=changes.append) as client,
        ):
            site.cut()
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(ConnectionLost):
                await client.list()
            assert len(site.streams) == 1
        assert changes.kinds == "CD"

    run(main)


def test_endless_patience() -> None:
    async def main() -> None:
        async with (
            open_site(registry()) as site,
            site.connect(reconnect_timeout=math.inf) as client,
        ):
            site.down = True
            site.cut()
            await trio.sleep(3000)
            site.down = False
            assert len(await client.list()) == 0

    run(main)


@pytest.mark.parametrize("seconds", [-1, math.nan, -math.inf, "soon"])
async def test_patience_is_a_number_of_seconds(seconds: Any) -> None:
    with pytest.raises(InvalidArguments, match="reconnect_timeout"):
        async with connect_with(trio.sleep_forever, reconnect_timeout=seconds):
            pass


def test_pauses_grow_while_it_fails_and_start_anew_afterwards() -> None:
    async def main() -> None:
        async def useful(peer: Peer) -> None:
            await peer.hello()
            await peer.answer(await peer.request("job.list"), LIST)

        async with by_hand(useful, useful, after_hello(Peer.idle), jitter=lambda: 1.0) as (
            client,
            hand,
        ):
            for _ in range(2):
                hand.refusing = 3
                await client.list()
                await trio.sleep(10)
            # One that stood, and the three that were refused before the next.
            pauses = [b - a for a, b in zip(hand.dialled, hand.dialled[1:], strict=False)]
        assert pauses[:4] == [pytest.approx(it) for it in (0.1, 0.2, 0.4, 0.8)]
        assert pauses[5:8] == [pytest.approx(it) for it in (0.2, 0.4, 0.8)]

    run(main)


@pytest.mark.parametrize(
    ("wish", "pause"), [(4.0, 6.0), (0.01, 0.06), ("soon", 0.05), (-3, 0.05), (None, 0.05)]
)
def test_the_server_may_say_when_to_come_back(wish: Any, pause: float) -> None:
    async def closing(peer: Peer) -> None:
        await peer.hello()
        await peer.send(
            method="session.closing", params={"reason": "restart", "reconnect_after": wish}
        )

    async def main() -> None:
        async with by_hand(closing, after_hello(Peer.idle)) as (_, hand):
            await trio.sleep(20)
        first, second = hand.dialled
        assert second - first == pytest.approx(pause)

    run(main)


def test_an_endless_line_of_useless_connections_is_one_outage() -> None:
    """A server that breaks each connection right after hello is as good as none."""

    async def main() -> None:
        async with by_hand(hang_up, reconnect_timeout=30.0) as (client, hand):
            began = trio.current_time()
            with pytest.raises(ConnectionLost, match="no other for 30 s"):
                while True:
                    await client.wait("j")
            assert trio.current_time() - began == pytest.approx(30.0, abs=0.1)
            assert len(hand.dialled) < 40

    run(main)


def test_a_connection_that_held_for_a_while_ends_the_outage() -> None:
    async def main() -> None:
        async def hold(peer: Peer) -> None:
            await peer.hello()
            with trio.move_on_after(10):
                await peer.idle()

        async with by_hand(hold, reconnect_timeout=12.0) as (client, hand):
            await trio.sleep(100)
            assert "connected" in repr(client) or "reconnecting" in repr(client)
        assert len(hand.dialled) == pytest.approx(10, abs=1)

    run(main)


def test_connections_that_are_of_use_are_no_outage_however_short_they_are() -> None:
    async def useful(peer: Peer) -> None:
        await peer.hello()
        await peer.answer(await peer.request("job.list"), LIST)

    async def watched(peer: Peer) -> None:
        await peer.hello()
        request = await peer.request("events.subscribe")
        since = request["params"].get("since", {"seq": 0})["seq"]
        await peer.answer(request, subscribed(since))
        await peer.event(since + 1)

    async def main() -> None:
        async with by_hand(useful, reconnect_timeout=3.0) as (client, hand):
            for _ in range(100):
                await client.list()
            assert trio.current_time() > 4.0
            assert len(hand.dialled) >= 100
        async with (
            by_hand(watched, reconnect_timeout=3.0) as (client, hand),
            client.watch() as events,
        ):
            for seq in range(1, 100):
                item = await anext(events)
                assert isinstance(item, JobEvent) and item.seq == seq

    run(main)


@pytest.mark.parametrize(
    ("code", "kind", "error"),
    [
        (-32015, "unauthenticated", Unauthenticated),
        (-32016, "forbidden", Forbidden),
        (-32009, "version_not_supported", VersionNotSupported),
    ],
)
def test_what_no_further_attempt_mends_is_the_end(
    code: int, kind: str, error: type[Exception]
) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.refuse(await peer.request("session.hello"), code, kind, "not you")
        await peer.idle()

    async def main() -> None:
        changes = Changes()
        async with by_hand(hang_up, refuse, on_change=changes.append) as (client, hand):
            with pytest.raises(error, match="not you"):
                await client.wait("j")
            with pytest.raises(error, match="not you"):
                await client.get("j")
            assert len(hand.dialled) == 2
        assert changes.kinds == "CdD"

    run(main)


def test_a_door_that_no_longer_opens_is_the_end() -> None:
    async def main() -> None:
        async with open_site(registry()) as site, site.connect() as client:
            site.server.auth.find = lambda secret: None
            site.cut()
            with pytest.raises(Unauthenticated):
                await client.list()

    run(main)


@pytest.mark.parametrize(("code", "error"), [(4401, Unauthenticated), (4403, Forbidden)])
def test_a_close_code_may_say_that_there_is_no_hope(code: int, error: type[Exception]) -> None:
    async def close(peer: Peer) -> None:
        await peer.hello()
        await peer.request("job.wait")
        await peer.websocket.aclose(code, "the token was withdrawn")

    async def main() -> None:
        async with by_hand(close) as (client, hand):
            with pytest.raises(error, match="withdrawn"):
                await client.wait("j")
            assert len(hand.dialled) == 1

    run(main)


def test_a_session_that_another_client_has_resumed_is_left_to_it() -> None:
    async def main() -> None:
        changes = Changes()
        async with open_site(registry()) as site, site.connect(on_change=changes.append) as one:
            await one.start("idle", job_id="a", on_disconnect="linger")
            async with site.connect(resume_token=one.resume_token) as other:
                assert other.hello.resumed == 1
                with pytest.raises(ConnectionLost, match="another client has come"):
                    await one.wait("a")
                await trio.sleep(60)
                assert len(site.streams) == 2
                assert changes.kinds == "CD"
                assert (await other.get("a")).cause is None

    run(main)


@pytest.mark.parametrize("close", [(1008, "policy"), (1013, "resumed by another connection")])
def test_other_close_codes_are_no_end(close: tuple[int, str]) -> None:
    async def leave(peer: Peer) -> None:
        await peer.hello()
        await peer.websocket.aclose(*close)

    async def main() -> None:
        async with by_hand(leave, after_hello(Peer.idle)) as (client, hand):
            await trio.sleep(10)
            assert len(hand.dialled) == 2
            assert "connected" in repr(client)

    run(main)


def test_a_bad_certificate_is_the_end() -> None:
    async def main() -> None:
        async with open_site(registry()) as site:
            good = True

            async def dial() -> trio.abc.Stream:
                stream: trio.abc.Stream = await site.dial()
                if good:
                    return stream
                await trio.aclose_forcefully(stream)
                try:
                    raise ssl.SSLCertVerificationError("it expired")
                except ssl.SSLError as exc:
                    raise trio.BrokenResourceError("handshake") from exc

            async with connect_with(dial, token="let-me-in") as client:
                good = False
                began = trio.current_time()
                site.cut()
                with pytest.raises(ConnectionLost):
                    await client.list()
                assert trio.current_time() - began < 1

    run(main)


def test_an_attempt_that_hangs_is_given_up_for_another() -> None:
    async def silent(peer: Peer) -> None:
        await peer.request("session.hello")
        await trio.sleep_forever()

    async def main() -> None:
        async with by_hand(hang_up, silent, after_hello(Peer.idle)) as (client, hand):
            await trio.sleep(25)
            assert "connected" in repr(client)
        _, second, third = hand.dialled
        assert 10.0 <= third - second < 11.0

    run(main)


# --- what is repeated -----------------------------------------------------------------------------


NAMED = {"name": "idle", "job_id": "j"}


@pytest.mark.parametrize(
    ("method", "params", "safe"),
    [
        ("job.get", {"job_id": "j"}, True),
        ("job.wait", {"job_id": "j"}, True),
        ("job.cancel", {"job_id": "j", "force": True}, True),
        ("rpc.discover", {}, True),
        ("job.cancel_many", {"filter": {"job_ids": ["j"]}}, True),
        ("job.cancel_many", {"filter": {"job_ids": ["j"], "state": ["running"]}}, True),
        ("job.cancel_many", {"filter": {"job_ids": []}}, False),
        ("job.cancel_many", {"filter": {"labels": {"a": "b"}}}, False),
        ("job.cancel_many", {"filter": {}}, False),
        ("nobody.knows", {}, False),
        ("session.hello", {}, False),
        ("job.start", NAMED, True),
        ("job.start", {"name": "idle"}, False),
        ("job.start", {**NAMED, "id_conflict_policy": "use_existing"}, True),
        ("job.start", {**NAMED, "id_conflict_policy": "fail"}, False),
        ("job.start", {**NAMED, "id_reuse_policy": "use_existing"}, True),
        ("job.start", {**NAMED, "id_reuse_policy": "allow"}, False),
        ("job.run", NAMED, True),
        ("job.run", {"name": "idle"}, False),
        ("job.start_many", {"jobs": [NAMED, NAMED]}, True),
        ("job.start_many", {"jobs": [NAMED, {"name": "idle"}]}, False),
    ],
)
def test_what_may_be_repeated(method: str, params: dict[str, Any], safe: bool) -> None:
    assert may_repeat(method, params) is safe


Ask = Callable[[Client], Awaitable[Any]]


@pytest.mark.parametrize(
    ("method", "ask", "result"),
    [
        ("job.list", lambda c: c.list(), LIST),
        ("job.get", lambda c: c.get("j"), {"job": job()}),
        ("job.wait", lambda c: c.wait("j"), {"job": job()}),
        ("job.logs", lambda c: c.logs("j"), {"entries": [], "next": 0, "eof": True}),
        ("job.start", lambda c: c.start("idle", job_id="j"), started("j")),
        (
            "job.cancel",
            lambda c: c.cancel("j", attempt=3),
            {"outcome": "cancelling", "job_id": "j", "seq": 1},
        ),
        (
            "job.cancel_many",
            lambda c: c.cancel_many(JobFilter(job_ids=("j",))),
            {"results": []},
        ),
        (
            "job.start_many",
            lambda c: c.start_many([JobRequest("idle", job_id="j")]),
            {"results": [{"result": started("j")}]},
        ),
        ("server.shutdown", lambda c: c.shutdown(), {"ok": True}),
    ],
)
@pytest.mark.parametrize("arrived", [True, False])
def test_what_is_safe_is_asked_again(method: str, ask: Ask, result: Any, arrived: bool) -> None:
    asked: list[dict[str, Any]] = []

    async def vanish(peer: Peer) -> None:
        await peer.hello()
        if arrived:
            asked.append(await peer.request(method))

    async def reply(peer: Peer) -> None:
        await peer.hello()
        request = await peer.request(method)
        asked.append(request)
        await peer.answer(request, result)
        await peer.idle()

    async def main() -> None:
        async with by_hand(vanish, reply) as (client, _):
            await ask(client)
        assert all(it == asked[0] for it in asked)

    run(main)


@pytest.mark.parametrize(
    "options", [{"id_reuse_policy": "allow"}, {"id_conflict_policy": "replace"}]
)
def test_a_start_that_a_repeat_might_double_is_given_up(options: dict[str, str]) -> None:
    async def vanish(peer: Peer) -> None:
        await peer.hello()
        await peer.request("job.start", "job.start_many")

    async def main() -> None:
        async with by_hand(vanish, after_hello(Peer.idle)) as (client, _):
            with pytest.raises(ConnectionLost, match="whether it took effect is unknown"):
                await client.start("idle", job_id="j", **options)
        async with by_hand(vanish, after_hello(Peer.idle)) as (client, _):
            with pytest.raises(ConnectionLost, match="unknown"):
                await client.start_many([JobRequest("idle", job_id="j", **options)])

    run(main)


def test_a_cancel_by_a_filter_that_a_repeat_might_widen_is_given_up() -> None:
    asked: list[str] = []

    async def vanish(peer: Peer) -> None:
        await peer.hello()
        asked.append((await peer.request("job.cancel_many"))["method"])

    async def reply(peer: Peer) -> None:
        await peer.hello()
        asked.append((await peer.request())["method"])
        await peer.idle()

    async def main() -> None:
        async with by_hand(vanish, reply) as (client, _):
            with pytest.raises(ConnectionLost, match="whether it took effect is unknown"):
                await client.cancel_many(JobFilter(labels={"branch": "x"}))
            with trio.move_on_after(1):
                await client.list()
        assert asked == ["job.cancel_many", "job.list"]

    run(main)


def test_what_was_never_sent_is_sent_whatever_it_is() -> None:
    async def main() -> None:
        async with open_site(registry()) as site, site.connect() as client:
            site.down = True
            site.cut()
            await trio.testing.wait_all_tasks_blocked()
            async with trio.open_nursery() as nursery:
                start = partial(client.start, "idle", job_id="j", id_reuse_policy="allow")
                nursery.start_soon(start)
                await trio.testing.wait_all_tasks_blocked()
                site.down = False
            assert (await client.get("j")).attempt == 1

    run(main)


def test_what_was_still_to_be_sent_when_it_broke_is_sent_whatever_it_is() -> None:
    async def main() -> None:
        hang = trio.Event()

        async def stuck(peer: Peer) -> None:
            await peer.hello()
            await hang.wait()

        async def reply(peer: Peer) -> None:
            await peer.hello()
            for _ in range(5):
                await peer.answer(await peer.request("job.list"), LIST)
            await peer.answer(await peer.request("job.start"), started("j"))
            await peer.idle()

        # What is sent on this one waits until somebody reads it.
        pair = trio.testing.lockstep_stream_pair
        async with by_hand(stuck, reply, pair=pair) as (client, _), trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(client.list)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(partial(client.start, "idle", job_id="j", id_reuse_policy="allow"))
            await trio.testing.wait_all_tasks_blocked()
            hang.set()

    run(main)


def test_a_start_with_an_id_of_ours_created_its_job_whatever_the_repeat_says() -> None:
    asked: list[dict[str, Any]] = []

    async def vanish(peer: Peer) -> None:
        await peer.hello()
        asked.append((await peer.request("job.start"))["params"])

    async def reply(peer: Peer) -> None:
        await peer.hello()
        request = await peer.request("job.start")
        asked.append(request["params"])
        await peer.answer(request, started(request["params"]["job_id"], created=False))
        await peer.idle()

    async def main() -> None:
        async with by_hand(vanish, reply) as (client, _):
            handle = await client.start("idle", id_conflict_policy="replace")
        assert handle.created
        assert asked[0] == asked[1]
        assert asked[0]["id_conflict_policy"] == "use_existing"
        async with by_hand(reply) as (client, _):
            assert not (await client.start("idle", job_id="j")).created

    run(main)


def test_ids_of_ours_are_never_the_same() -> None:
    async def main() -> None:
        async with (
            open_site(registry()) as site,
            site.connect() as one,
            site.connect() as other,
        ):
            starts = [await client.start("idle") for client in (one, one, other, other)]
            starts += await one.start_many([JobRequest("idle"), JobRequest("idle")])
            assert len({start.id for start in starts}) == 6
            assert all(start.created for start in starts)

    run(main)


def test_a_bad_policy_is_the_servers_to_refuse() -> None:
    async def main() -> None:
        async with open_site(registry()) as site, site.connect() as client:
            with pytest.raises(InvalidArguments, match="policy"):
                await client.start("idle", id_reuse_policy="perhaps")

    run(main)


def test_starts_whose_answers_were_lost_run_once() -> None:
    async def main() -> None:
        async with open_site(registry()) as site, site.connect() as client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(client.start, "idle", job_id="a"))
                nursery.start_soon(client.start_many, [JobRequest("idle") for _ in range(20)])
                await trio.lowlevel.checkpoint()
                await trio.lowlevel.checkpoint()
                site.cut()
            page = await client.list()
            assert len(page) == 21
            assert {it.attempt for it in page} == {1}

    run(main)


def test_a_cancel_that_waits_does_so_for_what_is_left_of_its_time() -> None:
    timeouts: list[float] = []

    async def script(peer: Peer) -> None:
        await peer.hello()
        timeouts.append((await peer.request("job.cancel"))["params"]["timeout"])
        await trio.sleep(3)

    async def main() -> None:
        async with by_hand(script, script, script, script) as (client, _):
            with trio.move_on_after(20):
                await client.cancel("j", wait="finished", timeout=7)
        assert timeouts[:3] == [pytest.approx(it, abs=0.3) for it in (7, 4, 1)]
        assert timeouts[3] == 0

    run(main)


def test_the_time_of_a_wait_is_kept_here() -> None:
    async def deaf(peer: Peer) -> None:
        await peer.hello()
        await peer.request("job.wait")
        await trio.sleep(3)

    async def main() -> None:
        async with by_hand(deaf, reconnect_timeout=math.inf) as (client, _):
            began = trio.current_time()
            with pytest.raises(trio.TooSlowError):
                await client.wait("j", timeout=10)
            assert trio.current_time() - began == pytest.approx(10)

    run(main)


def test_what_its_caller_has_left_is_not_repeated() -> None:
    seen: list[str] = []

    async def vanish(peer: Peer) -> None:
        await peer.hello()
        for _ in range(2):
            seen.append((await peer.request())["method"])
        await trio.sleep(1)

    async def reply(peer: Peer) -> None:
        await peer.hello()
        seen.append((await peer.request())["method"])
        await peer.idle()

    async def main() -> None:
        async with by_hand(vanish, reply) as (client, _):
            with trio.move_on_after(0.5):
                await client.wait("j")
            await trio.sleep(5)
            with trio.move_on_after(1):
                await client.list()
        assert seen[:3] == ["job.wait", "$/cancelRequest", "job.list"]

    run(main)


def test_who_leaves_during_an_outage_leaves_nothing() -> None:
    async def main() -> None:
        async with open_site(registry()) as site, site.connect() as client:
            site.down = True
            site.cut()
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(1) as scope:
                await client.list()
            assert scope.cancelled_caught
            assert "0 requests" in repr(client)

    run(main)


@pytest.mark.parametrize(
    "ask", [lambda c: c.shutdown(), lambda c: c.cancel_many(JobFilter(job_ids=("j",)))]
)
def test_what_is_meant_for_one_server_is_not_sent_to_the_next(ask: Ask) -> None:
    async def other(peer: Peer) -> None:
        await peer.hello(instance="other")
        await peer.idle()

    async def main() -> None:
        async with by_hand(hang_up, other) as (client, _):
            await until(lambda: "reconnecting" in repr(client))
            with pytest.raises(ConnectionLost, match="was not sent, as it was not meant for this"):
                await ask(client)
            assert client.instance == "other"

    run(main)


@pytest.mark.parametrize(
    ("method", "ask", "says"),
    [
        ("job.start", lambda c: c.start("idle", job_id="j"), "took effect .* unknown"),
        ("job.start_many", lambda c: c.start_many([JobRequest("idle")]), "unknown"),
        ("job.run", lambda c: c.request("job.run", NAMED, lambda _: None), "unknown"),
        ("job.cancel", lambda c: c.cancel("j"), "unknown"),
        ("job.cancel_many", lambda c: c.cancel_many(JobFilter(job_ids=("j",))), "unknown"),
        ("server.shutdown", lambda c: c.shutdown(), "unknown"),
        ("job.get", lambda c: c.get("j"), "gone with it"),
        ("job.wait", lambda c: c.wait("j"), "gone with it"),
        ("job.logs", lambda c: c.logs("j"), "gone with it"),
    ],
)
def test_what_was_sent_to_one_server_is_not_repeated_at_another(
    method: str, ask: Ask, says: str
) -> None:
    asked: list[str] = []

    async def vanish(peer: Peer) -> None:
        await peer.hello()
        asked.append((await peer.request(method))["method"])

    async def another(peer: Peer) -> None:
        await peer.hello(instance="other")
        request = await peer.request()
        asked.append(request["method"])
        await peer.answer(request, LIST)
        await peer.idle()

    async def main() -> None:
        async with by_hand(vanish, another) as (client, _):
            with pytest.raises(ConnectionLost, match=f"replaced by another one; .*{says}"):
                await ask(client)
            await client.list()
        assert asked == [method, "job.list"]

    run(main)


@pytest.mark.parametrize(
    ("method", "ask", "result"),
    [
        ("job.list", lambda c: c.list(), LIST),
        ("session.ping", lambda c: c.request("session.ping", {}, lambda _: None), {}),
        ("rpc.discover", lambda c: c.request("rpc.discover", {}, lambda _: None), {}),
        ("server.info", lambda c: c.request("server.info", {}, lambda _: None), {}),
    ],
)
def test_what_any_server_can_answer_is_asked_again_at_another(
    method: str, ask: Ask, result: Any
) -> None:
    async def vanish(peer: Peer) -> None:
        await peer.hello()
        await peer.request(method)

    async def another(peer: Peer) -> None:
        await peer.hello(instance="other")
        await peer.answer(await peer.request(method), result)
        await peer.idle()

    async def main() -> None:
        async with by_hand(vanish, another) as (client, _):
            await ask(client)
            assert client.instance == "other"

    run(main)


def test_what_was_never_sent_goes_to_the_server_that_is_there_and_is_repeated_at_it() -> None:
    asked: list[str] = []

    async def other(peer: Peer) -> None:
        await peer.hello(instance="other")
        asked.append((await peer.request("job.start"))["params"]["job_id"])

    async def other_again(peer: Peer) -> None:
        await peer.hello(instance="other")
        await peer.answer(await peer.request("job.start"), started("j"))
        await peer.idle()

    async def main() -> None:
        async with by_hand(hang_up, other, other_again) as (client, hand):
            await until(lambda: "reconnecting" in repr(client))
            assert client.instance == "i"
            assert (await client.start("idle", job_id="j")).id == "j"
            assert len(hand.dialled) == 3
        assert asked == ["j"]

    run(main)


def test_a_job_whose_server_was_replaced_does_not_run_a_second_time() -> None:
    runs: list[int] = []
    jobs = Registry()

    @jobs.job
    async def pay() -> None:
        runs.append(1)

    async def main() -> None:
        async def start(client: Client) -> None:
            with pytest.raises(ConnectionLost, match="replaced"):
                await client.start("pay", job_id="invoice-7")

        async with open_site(jobs) as one, open_site(jobs) as other:
            async with one.connect() as client, trio.open_nursery() as nursery:
                nursery.start_soon(start, client)
                await until(lambda: one.sup.list_nowait().jobs)
                one.successor = other
                one.cut()
            await trio.sleep(1)
        assert runs == [1]

    run(main)


def test_a_request_that_ends_every_connection_is_given_up() -> None:
    async def poisoned(peer: Peer) -> None:
        await peer.hello()
        while True:
            request = await peer.request()
            if request["method"] == "job.get":
                return
            await peer.answer(request, LIST)

    async def main() -> None:
        async with by_hand(poisoned, reconnect_timeout=math.inf) as (client, hand):
            with pytest.raises(ConnectionLost):
                await client.get("j")
            assert len(hand.dialled) == SENT_AT_MOST
            await client.list()

    run(main)


def test_a_doubled_request_is_the_first_one_still() -> None:
    async def double(peer: Peer) -> None:
        await peer.hello()
        request = await peer.request("job.list")
        await peer.refuse(request, -32600, "invalid_request", path="$.id")
        await peer.answer(request, LIST)
        await peer.idle()

    async def main() -> None:
        async with by_hand(double) as (client, _):
            assert (await client.list()).seq == 4

    run(main)


# --- overload -------------------------------------------------------------------------------------


def busy(times: int, after: Any) -> Callable[[Peer], Awaitable[None]]:
    async def script(peer: Peer) -> None:
        for _ in range(times):
            request = await peer.request()
            await peer.refuse(request, -32013, "overloaded", "busy", retry_after=after)
        await peer.answer(await peer.request(), LIST)
        await peer.idle()

    return after_hello(script)


def test_a_busy_server_is_asked_again_later() -> None:
    async def main() -> None:
        async with by_hand(busy(OVERLOADED_AT_MOST - 1, 2.0)) as (client, _):
            began = trio.current_time()
            await client.list()
            assert 8 <= trio.current_time() - began < 10

    run(main)


def test_a_server_that_stays_busy_is_left_alone() -> None:
    async def main() -> None:
        async with by_hand(busy(OVERLOADED_AT_MOST, 2.0)) as (client, _):
            with pytest.raises(Overloaded, match="busy"):
                await client.list()
            await client.list()

    run(main)


def test_a_busy_server_is_not_asked_twice_to_do_what_might_be_doubled() -> None:
    async def main() -> None:
        async with by_hand(busy(1, 2.0)) as (client, _):
            with pytest.raises(Overloaded):
                await client.start("idle", job_id="j", id_reuse_policy="allow")

    run(main)


def test_callers_wait_while_too_much_waits_to_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervisor._client.link.CROWDED_MESSAGES", 100)

    async def main() -> None:
        reading = trio.Event()

        async def stuck(peer: Peer) -> None:
            await peer.hello()
            await reading.wait()
            while True:
                await peer.answer(await peer.request("job.list"), LIST)

        # What is sent on this one waits until somebody reads it.
        pair = trio.testing.lockstep_stream_pair
        async with by_hand(stuck, pair=pair) as (client, _), trio.open_nursery() as nursery:
            for _ in range(300):
                nursery.start_soon(client.list)
            await trio.testing.wait_all_tasks_blocked()
            requests = int(repr(client).split(": ")[1].split()[0])
            assert 100 <= requests <= 102
            reading.set()

    run(main)


def test_callers_that_wait_for_room_go_on_with_the_next_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("supervisor._client.link.CROWDED_MESSAGES", 10)

    async def main() -> None:
        hang = trio.Event()

        async def stuck(peer: Peer) -> None:
            await peer.hello()
            await hang.wait()

        async def reply(peer: Peer) -> None:
            await peer.hello()
            while True:
                await peer.answer(await peer.request("job.list"), LIST)

        pair = trio.testing.lockstep_stream_pair
        async with by_hand(stuck, reply, pair=pair) as (client, _), trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(client.list)
            await trio.testing.wait_all_tasks_blocked()
            hang.set()

    run(main)


def test_a_message_that_is_too_large_is_refused_here() -> None:
    async def main() -> None:
        async with open_site(registry()) as site, site.connect() as client:
            with pytest.raises(InvalidArguments, match="bytes"):
                await client.start("idle", labels={"x": "y" * 2_000_000})
            assert len(site.streams) == 1
            started = await client.start_many(
                [
                    JobRequest("idle", job_id="a"),
                    JobRequest("idle", labels={"x": "y" * 2_000_000}),
                    JobRequest("idle", job_id="b"),
                    JobRequest("idle", (1, 2)),
                    JobRequest("nobody-knows"),
                    JobRequest("idle", job_id="c"),
                ]
            )
            assert [getattr(it, "id", type(it)) for it in started] == [
                "a", InvalidArguments, "b", InvalidArguments, UnknownJobName, "c",
            ]  # fmt: skip
            assert await client.start_many([JobRequest("idle", (1,))]) != []
            assert len(site.streams) == 1
            many = [JobRequest("idle", labels={"x": "y" * 4000}) for _ in range(600)]
            assert len(await client.start_many(many)) == 600
            assert len(site.streams) == 1

    run(main)


# --- watches --------------------------------------------------------------------------------------


def test_a_watch_goes_on_where_it_was() -> None:
    async def main() -> None:
        async with (
            open_site(registry()) as site,
            site.connect() as client,
            client.watch(since=0) as events,
            site.sup.watch(since=0) as truth,
        ):
            for number in range(20):
                await site.sup.start("idle", job_id=f"job-{number}")
                if number % 5 == 4:
                    site.cut()
                    await trio.sleep(0.1 * number)
            for _ in range(site.sup.head_seq):
                assert await anext(events) == await anext(truth)
            await trio.sleep(1)
            assert len(site.streams) == 5

    run(main)


def test_a_filtered_watch_goes_on_where_it_was() -> None:
    async def main() -> None:
        wanted = JobFilter(labels={"mine": "yes"})
        async with (
            open_site(registry()) as site,
            site.connect() as client,
            client.watch(since=0, filter=wanted) as events,
            site.sup.watch(since=0, filter=wanted) as truth,
        ):
            for number in range(20):
                labels = {"mine": "yes" if number % 3 == 0 else "no"}
                await site.sup.start("idle", job_id=f"job-{number}", labels=labels)
                if number % 5 == 4:
                    site.cut()
                    await trio.sleep(0.1 * number)
            for _ in range(7):
                assert await anext(events) == await anext(truth)

    run(main)


async def three(peer: Peer, *items: tuple[int, int]) -> None:
    """Answer a subscription from 0, then these events: previous position, position."""
    await peer.hello()
    await peer.subscribed(0)
    for prev, seq in items:
        await peer.event(seq, prev)
    await peer.idle()


@pytest.mark.parametrize(
    ("items", "good"),
    [
        ([(0, 1), (2, 3)], 1),
        ([(1, 2)], 0),
        ([(0, 1), (0, 2)], 1),
        ([(0, 1), (1, 3), (4, 6), (3, 4)], 3),
    ],
)
def test_a_gap_ends_the_connection_and_the_next_one_begins_before_it(
    items: list[tuple[int, int]], good: int
) -> None:
    async def rest(peer: Peer) -> None:
        await peer.hello()
        params = await peer.subscribed(good)
        assert params["since"] == {"instance": "i", "seq": good}
        assert params["filter"] == {"name": "work"}
        await peer.event(100, good)
        await peer.idle()

    async def main() -> None:
        changes = Changes()
        async with (
            by_hand(partial(gapped, items), rest, on_change=changes.append) as (client, _),
            client.watch(filter=JobFilter(name="work")) as events,
        ):
            seqs = []
            while not seqs or seqs[-1] < 100:
                item = await anext(events)
                assert isinstance(item, JobEvent)
                seqs.append(item.seq)
            assert seqs == [*range(1, good + 1, 2), 100]
        assert changes.kinds == "CdC"

    async def gapped(items: list[tuple[int, int]], peer: Peer) -> None:
        await three(peer, *items, (90, 91))

    run(main)


def test_what_comes_twice_is_dropped() -> None:
    async def main() -> None:
        script = partial(three_of, [(0, 1), (0, 1), (1, 2), (0, 1), (1, 2), (2, 3)])
        async with by_hand(script) as (client, hand), client.watch() as events:
            seqs = [item.seq for _ in range(3) if isinstance(item := await anext(events), JobEvent)]
            assert seqs == [1, 2, 3]
            await trio.sleep(100)
            assert len(hand.dialled) == 1

    async def three_of(items: list[tuple[int, int]], peer: Peer) -> None:
        await three(peer, *items)

    run(main)


def test_an_event_that_cannot_be_read_ends_the_connection() -> None:
    async def broken(peer: Peer) -> None:
        await peer.hello()
        await peer.subscribed(0)
        await peer.event(1, state="dizzy")
        await peer.idle()

    async def main() -> None:
        async with by_hand(broken, reconnect_timeout=30) as (client, hand):
            began = trio.current_time()
            async with client.watch() as events:
                with pytest.raises(ConnectionLost, match="JobEvent"):
                    await anext(events)
            # It fails the same way each time: that is an outage, too.
            assert trio.current_time() - began == pytest.approx(30, abs=0.5)
            assert len(hand.dialled) < 40

    run(main)


def test_a_watch_begins_anew_at_a_new_server_and_says_so() -> None:
    async def old(peer: Peer) -> None:
        await peer.hello()
        await peer.subscribed(0)
        await peer.event(1)

    async def new(peer: Peer) -> None:
        await peer.hello(instance="other")
        params = await peer.subscribed(7, "other")
        assert "since" not in params
        await peer.event(8, instance="other")
        await peer.idle()

    async def main() -> None:
        async with by_hand(old, new) as (client, _), client.watch() as events:
            first, lost, then = [await anext(events) for _ in range(3)]
            assert isinstance(first, JobEvent) and first.seq == 1
            assert lost == EventsLost(instance="other", after_seq=1, resumes_at=7)
            assert isinstance(then, JobEvent) and (then.instance, then.seq) == ("other", 8)
            assert client.instance == "other"

    run(main)


def test_a_watch_whose_events_are_gone_begins_anew_and_says_so() -> None:
    async def first(peer: Peer) -> None:
        await peer.hello()
        await peer.subscribed(3)

    async def second(peer: Peer) -> None:
        await peer.hello()
        request = await peer.request("events.subscribe")
        assert request["params"]["since"] == {"instance": "i", "seq": 3}
        await peer.refuse(request, -32010, "replay_gone", instance="i", head_seq=99_999)
        assert "since" not in await peer.subscribed(99_999)
        await peer.event(100_000)
        await peer.idle()

    async def main() -> None:
        async with by_hand(first, second) as (client, _), client.watch() as events:
            lost, then = [await anext(events) for _ in range(2)]
            assert lost == EventsLost(instance="i", after_seq=3, resumes_at=99_999)
            assert isinstance(then, JobEvent) and then.seq == 100_000

    run(main)


def test_a_server_that_is_too_busy_to_go_on_is_given_time() -> None:
    async def busy_one(peer: Peer) -> None:
        await peer.hello()
        request = await peer.request("events.subscribe")
        await peer.refuse(request, -32013, "overloaded", retry_after=3.0)
        await peer.idle()

    async def first(peer: Peer) -> None:
        await peer.hello()
        await peer.subscribed(0)

    async def main() -> None:
        rest = partial(three_events)
        async with by_hand(first, busy_one, rest) as (client, hand), client.watch() as events:
            assert isinstance(await anext(events), JobEvent)
            assert hand.dialled[2] - hand.dialled[1] == pytest.approx(4.5, abs=0.1)

    async def three_events(peer: Peer) -> None:
        await three(peer, (0, 1))

    run(main)


def test_a_watch_that_is_no_longer_allowed_ends_alone() -> None:
    async def first(peer: Peer) -> None:
        await peer.hello()
        await peer.subscribed(0)

    async def second(peer: Peer) -> None:
        await peer.hello()
        await peer.refuse(await peer.request("events.subscribe"), -32016, "forbidden")
        await peer.answer(await peer.request("job.list"), LIST)
        await peer.idle()

    async def main() -> None:
        async with by_hand(first, second) as (client, _):
            async with client.watch() as events:
                with pytest.raises(Forbidden):
                    await anext(events)
            await client.list()

    run(main)


def test_a_subscription_at_another_place_than_asked_for_is_a_fault() -> None:
    async def first(peer: Peer) -> None:
        await peer.hello()
        await peer.subscribed(5)

    async def astray(peer: Peer) -> None:
        await peer.hello()
        await peer.subscribed(6)
        await peer.idle()

    async def right(peer: Peer) -> None:
        await peer.hello()
        assert (await peer.subscribed(5))["since"]["seq"] == 5
        await peer.event(6)
        await peer.idle()

    async def main() -> None:
        async with by_hand(first, astray, right) as (client, _), client.watch() as events:
            item = await anext(events)
            assert isinstance(item, JobEvent) and item.seq == 6

    run(main)


def test_a_watch_that_was_left_is_not_taken_up() -> None:
    async def main() -> None:
        async with open_site(registry()) as site, site.connect() as client:
            async with client.watch():
                site.down = True
                site.cut()
                await trio.testing.wait_all_tasks_blocked()
            site.down = False
            await client.list()
            assert site.sup.statistics_nowait().watchers == 0

    run(main)


def test_a_watch_that_is_left_while_it_is_taken_up_is_ended_at_the_server() -> None:
    ended: list[str] = []

    async def first(peer: Peer) -> None:
        await peer.hello()
        await peer.subscribed(0)

    async def second(peer: Peer) -> None:
        await peer.hello()
        request = await peer.request("events.subscribe")
        await trio.sleep(1)
        await peer.answer(
            request, {"subscription_id": "e9", "instance": "i", "from_seq": 0, "head_seq": 0}
        )
        ended.append((await peer.request("events.unsubscribe"))["params"]["subscription_id"])
        await peer.idle()

    async def main() -> None:
        async with by_hand(first, second) as (client, _):
            async with client.watch():
                await trio.sleep(0.5)
            await trio.sleep(5)
        assert ended == ["e9"]

    run(main)


def test_a_watch_that_is_left_while_it_begins_anew_is_ended_at_the_server() -> None:
    ended: list[str] = []

    async def first(peer: Peer) -> None:
        await peer.hello()
        await peer.subscribed(0)

    async def second(peer: Peer) -> None:
        await peer.hello("other")
        request = await peer.request("events.subscribe")
        await trio.sleep(1)
        await peer.answer(request, subscribed(0, "other"))
        ended.append((await peer.request("events.unsubscribe"))["params"]["subscription_id"])
        await peer.idle()

    async def main() -> None:
        async with by_hand(first, second) as (client, _):
            async with client.watch() as events:
                await trio.sleep(0.5)
            await trio.sleep(5)
            assert events.take_nowait() is None
        assert ended == ["e"]

    run(main)


def test_who_leaves_before_a_watch_is_open_leaves_none_behind() -> None:
    ended: list[str] = []

    async def script(peer: Peer) -> None:
        await peer.hello()
        request = await peer.request("events.subscribe")
        assert (await peer.request())["method"] == "$/cancelRequest"
        # It was too late: the watch was open already.
        await peer.answer(
            request, {"subscription_id": "e9", "instance": "i", "from_seq": 0, "head_seq": 0}
        )
        ended.append((await peer.request("events.unsubscribe"))["params"]["subscription_id"])
        await peer.idle()

    async def main() -> None:
        async with by_hand(script) as (client, _):
            with trio.move_on_after(1):
                async with client.watch():
                    pytest.fail("nobody answered")
            await trio.sleep(1)
        assert ended == ["e9"]

    run(main)


@pytest.mark.parametrize("steps", range(60))
def test_who_leaves_in_the_moment_of_the_answer_leaves_no_watch_behind(steps: int) -> None:
    async def main() -> None:
        async def watch(client: Client) -> None:
            async with client.watch():
                await trio.sleep_forever()

        async with open_site(registry()) as site, site.connect() as client:
            for more in range(8):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(watch, client)
                    for _ in range(steps + more % 2):
                        await trio.lowlevel.checkpoint()
                    nursery.cancel_scope.cancel()
            await trio.sleep(1)
            assert "0 watches" in repr(client)
            assert [len(session.subscriptions) for session in site.server.sessions] == [0]

    run(main)


def test_who_is_cancelled_just_before_the_answer_is_read_leaves_no_watch_behind() -> None:
    async def main() -> None:
        scope = trio.CancelScope()

        async def watch(client: Client) -> None:
            with scope:
                async with client.watch():
                    raise AssertionError("it was cancelled before")

        async with open_site(registry()) as site, site.connect() as client:
            channel = client._channel
            answered = channel.calls.answered

            def cancelled_and_answered(id: object, result: Any) -> bool:
                scope.cancel()
                return answered(id, result)

            channel.calls.answered = cancelled_and_answered  # type: ignore[method-assign]
            await watch(client)
            assert scope.cancelled_caught
            assert not channel.watches
            await trio.sleep(1)
            assert [len(session.subscriptions) for session in site.server.sessions] == [0]

    run(main)


def test_a_position_counts_in_the_history_that_is_named() -> None:
    async def main() -> None:
        async with open_site(registry()) as one, open_site(registry()) as other:
            await other.sup.start("idle")
            async with one.connect() as client:
                page = await client.list()
                async with client.watch(page.seq, instance=page.instance) as events:
                    assert events.instance == one.sup.instance
                one.successor = other
                one.cut()
                await client.list()
                with pytest.raises(ReplayGone):
                    async with client.watch(page.seq, instance=page.instance):
                        pass
                async with client.watch(page.seq) as events:
                    assert events.instance == other.sup.instance

    run(main)


def test_lines_of_an_outage_are_told_as_missed() -> None:
    async def main() -> None:
        async with (
            open_site(registry()) as site,
            site.connect() as client,
            client.watch(since=0, logs=True) as events,
        ):
            await client.start("talk", args={"lines": 6, "pause": 10, "burst": 3}, job_id="a")
            told: list[Any] = []

            async def read() -> None:
                async for item in events:
                    match item:
                        case LogEntry():
                            told.append(item.n)
                        case LogsLagged():
                            told.append((item.from_n, item.to_n))
                        case JobEvent(type="job.finished"):
                            told.append("end")
                            return

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                await trio.sleep(5)
                site.down = True
                site.cut()
                await trio.sleep(8)
                site.down = False
            assert told == [1, 2, 3, (4, 6), "end"]

    run(main)


def test_lines_that_come_while_a_watch_is_taken_up_are_told_as_missed() -> None:
    async def first(peer: Peer) -> None:
        await peer.hello()
        await peer.subscribed(0)
        await peer.line(1)

    async def second(peer: Peer) -> None:
        await peer.hello()
        for lines in (3, 5):
            request = await peer.request("job.list")
            assert request["params"]["job_ids"] == ["j"]
            page = {"jobs": [job(log_lines=lines)], "instance": "i", "seq": 1}
            await peer.answer(request, page)
            if lines == 3:
                await peer.subscribed(0)
        await peer.idle()

    async def main() -> None:
        async with by_hand(first, second) as (client, _), client.watch(logs=True) as events:
            items = [await anext(events), await anext(events)]
            assert isinstance(items[0], LogEntry)
            assert items[1] == LogsLagged(job_id="j", from_n=2, to_n=3)
            assert await anext(events) == LogsLagged(job_id="j", from_n=4, to_n=5)

    in_turn(main)


def test_the_counts_of_lines_come_page_by_page() -> None:
    async def first(peer: Peer) -> None:
        await peer.hello()
        await peer.subscribed(0)

    async def second(peer: Peer) -> None:
        await peer.hello()
        await peer.answer(
            await peer.request("job.list"),
            {"jobs": [], "instance": "i", "seq": 1, "next_cursor": "there"},
        )
        await peer.subscribed(0)
        await peer.answer(await peer.request("job.list"), LIST)
        request = await peer.request("job.list")
        assert request["params"]["cursor"] == "there"
        page = {"jobs": [job(log_lines=3)], "instance": "i", "seq": 1}
        await peer.answer(request, page)
        await peer.idle()

    async def main() -> None:
        some = JobFilter(job_ids=("j",))
        async with (
            by_hand(first, second) as (client, _),
            client.watch(logs=True, filter=some) as events,
        ):
            assert await anext(events) == LogsLagged(job_id="j", from_n=1, to_n=3)

    run(main)


def test_the_lines_of_many_jobs_are_asked_for_in_parts() -> None:
    many = tuple(f"j{number}" for number in range(2500))

    async def first(peer: Peer) -> None:
        await peer.hello()
        await peer.subscribed(0)

    async def second(peer: Peer) -> None:
        await peer.hello()
        for times in range(2):
            asked: list[str] = []
            for _ in range(3):
                request = await peer.request("job.list")
                ids = request["params"]["job_ids"]
                assert len(ids) <= request["params"]["limit"] <= 1000
                asked += ids
                missed = [job(id, log_lines=1) for id in ids if id in (many[0], many[-1])]
                await peer.answer(request, {"jobs": missed, "instance": "i", "seq": 1})
            assert sorted(asked) == sorted(many)
            if times == 0:
                await peer.subscribed(0)
        await peer.idle()

    async def main() -> None:
        some = JobFilter(job_ids=many)
        async with (
            by_hand(first, second) as (client, _),
            client.watch(logs=True, filter=some) as events,
        ):
            items = [await anext(events), await anext(events)]
            assert items == [LogsLagged(job_id=id, from_n=1, to_n=1) for id in (many[0], many[-1])]

    run(main)


def test_the_lines_of_another_server_say_nothing() -> None:
    async def first(peer: Peer) -> None:
        await peer.hello()
        await peer.subscribed(0)

    async def second(peer: Peer) -> None:
        await peer.hello()
        page = {"jobs": [job(log_lines=3)], "instance": "other", "seq": 1}
        await peer.answer(await peer.request("job.list"), page)
        await peer.subscribed(0)
        await peer.event(1)
        await peer.idle()

    async def main() -> None:
        some = JobFilter(job_ids=("j",))
        async with (
            by_hand(first, second) as (client, _),
            client.watch(logs=True, filter=some) as events,
        ):
            assert isinstance(await anext(events), JobEvent)

    run(main)


def test_a_whole_job_in_an_outage_is_told_of() -> None:
    async def main() -> None:
        async with (
            open_site(registry()) as site,
            site.connect() as client,
            client.watch(logs=True, filter=JobFilter(job_ids=("a",))) as events,
        ):
            site.down = True
            site.cut()
            await trio.testing.wait_all_tasks_blocked()
            await site.sup.start("talk", args={"lines": 3}, job_id="a")
            await site.sup.wait("a")
            site.down = False
            items = []
            while not items or getattr(items[-1], "type", "") != "job.finished":
                items.append(await anext(events))
            assert items[0] == LogsLagged(job_id="a", from_n=1, to_n=3)

    run(main)


# --- the heartbeat --------------------------------------------------------------------------------


def test_a_server_that_no_longer_answers_is_left() -> None:
    async def mute(peer: Peer) -> None:
        await peer.hello()
        await peer.request("session.ping")
        await trio.sleep_forever()

    async def main() -> None:
        async with by_hand(mute, after_hello(Peer.idle)) as (_, hand):
            await trio.sleep(100)
        first, second = hand.dialled
        assert second - first == pytest.approx(40, abs=1)

    run(main)


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [(3, 3), (0, 0.05), (-5, 0.05), (1e9, 300), (None, 20)],
)
def test_the_heartbeat_is_the_servers_within_bounds(limit: Any, seconds: float) -> None:
    times: list[float] = []

    async def script(peer: Peer) -> None:
        limits = {} if limit is None else {"heartbeat_seconds": limit}
        await peer.hello(limits=limits)
        for _ in range(3):
            times.append(trio.current_time())
            await peer.pong(await peer.request("session.ping"))
        await peer.idle()

    async def main() -> None:
        async with by_hand(script):
            await trio.sleep(3.5 * seconds)
        first, second, third = times
        assert second - first == third - second == pytest.approx(seconds)

    run(main)


@pytest.mark.parametrize("wrong", [{"received": -1}, {"received": 1}, {"sent": 1}, {"sent": -1}])
def test_counts_that_differ_end_the_connection(wrong: dict[str, int]) -> None:
    async def script(peer: Peer) -> None:
        await peer.hello()
        await peer.pong(await peer.request("session.ping"), **wrong)
        await peer.idle()

    async def main() -> None:
        changes = Changes()
        async with by_hand(script, after_hello(Peer.idle), on_change=changes.append) as (_, hand):
            await trio.sleep(200)
        assert len(hand.dialled) == 2
        loss = changes[1]
        assert isinstance(loss, Disconnected) and "arrived" in loss.reason

    run(main)


def test_a_lost_request_is_noticed_by_the_counts() -> None:
    async def lossy(peer: Peer) -> None:
        await peer.hello()
        await peer.request("job.list")
        peer.received -= 1  # as if it had never arrived
        await peer.idle()

    async def reply(peer: Peer) -> None:
        await peer.hello()
        await peer.answer(await peer.request("job.list"), LIST)
        await peer.idle()

    async def main() -> None:
        async with by_hand(lossy, reply) as (client, _):
            began = trio.current_time()
            assert (await client.list()).seq == 4
            assert trio.current_time() - began < 21

    run(main)


def test_a_server_that_does_not_count_is_believed() -> None:
    async def script(peer: Peer) -> None:
        await peer.hello()
        while True:
            ping = await peer.request("session.ping")
            await peer.answer(ping, {"now": "2026-01-01T00:00:00Z", "head_seq": 0})

    async def main() -> None:
        async with by_hand(script) as (_, hand):
            await trio.sleep(200)
        assert len(hand.dialled) == 1

    run(main)


def test_a_busy_connection_keeps_its_counts() -> None:
    async def main() -> None:
        async with (
            open_site(registry()) as site,
            site.connect() as client,
            client.watch(since=0, logs=True, progress=True),
        ):
            with trio.move_on_after(300):
                while True:
                    await client.start("talk", args={"lines": 10, "pause": 1, "burst": 5})
                    await trio.sleep(3)
            assert len(site.streams) == 1

    run(main)


# --- the end of the block -------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["connected", "waiting", "dialling", "greeting"])
def test_the_block_ends_at_once_whatever_goes_on(when: str) -> None:
    async def main() -> None:
        async def wait(peer: Peer) -> None:
            await peer.hello()
            if when == "connected":
                await peer.idle()

        async def hang(peer: Peer) -> None:
            await trio.sleep_forever()

        async with by_hand(wait, hang, reconnect_timeout=math.inf) as (client, hand):
            if when == "waiting":
                hand.refusing = 1000
            elif when == "dialling":
                hand.dial = trio.sleep_forever  # type: ignore[assignment, method-assign]
            await trio.sleep(10)
            began = trio.current_time()
        assert trio.current_time() - began <= 2.0
        with pytest.raises(ConnectionLost, match="closed"):
            await client.list()

    run(main)


def test_a_hanging_server_keeps_nobody_for_longer_than_two_seconds() -> None:
    async def main() -> None:
        async def dial() -> trio.abc.Stream:
            ours, theirs = trio.testing.memory_stream_pair()
            streams.append(theirs)  # or it would be closed
            nursery.start_soon(serve_and_hang, theirs)
            await trio.lowlevel.checkpoint()
            return ours

        streams: list[Any] = []
        async with trio.open_nursery() as nursery:
            async with connect_with(dial):
                await trio.testing.wait_all_tasks_blocked()
                began = trio.current_time()
            assert trio.current_time() - began == pytest.approx(2.0)
            async with connect_with(dial, jitter=lambda: 0.0):
                await trio.sleep(41)
                assert len(streams) == 3  # nobody who hangs is said farewell to, either

    run(main)


def test_a_reader_that_fails_is_a_connection_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async def odd(self: object, event: object) -> None:
        raise RuntimeError("as happens")

    async def pinging(peer: Peer) -> None:
        await peer.hello()
        await peer.websocket.ping(b"x")

    async def reply(peer: Peer) -> None:
        await peer.hello()
        await peer.answer(await peer.request("job.list"), LIST)
        await peer.idle()

    async def main() -> None:
        async with by_hand(pinging, reply) as (client, hand):
            monkeypatch.setattr(trio_websocket.WebSocketConnection, "_handle_ping_event", odd)
            began = trio.current_time()
            assert (await client.list()).seq == 4
            assert trio.current_time() - began < 1
            assert len(hand.dialled) == 2

    run(main)


@pytest.mark.parametrize(("size", "connections"), [(100, 2), (80, 1)])
def test_a_flood_that_makes_no_message(
    size: int, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor._client.websocket.BYTES_WITHOUT_A_MESSAGE", 10_000)

    async def flood(peer: Peer) -> None:
        for _ in range(3):
            for _ in range(100):
                await peer.websocket.pong(b"x" * size)
            await peer.send(method="nobody.knows", params={})

    async def main() -> None:
        async with by_hand(after_hello(flood), after_hello(Peer.idle)) as (_, hand):
            await trio.sleep(10)
            assert len(hand.dialled) == connections

    in_turn(main)


def test_who_waits_outside_of_the_block_is_told_when_it_ends() -> None:
    async def main() -> None:
        async def wait(client: Client) -> None:
            with pytest.raises(ConnectionLost, match="closed"):
                await client.wait("j")

        async with trio.open_nursery() as nursery, open_site(registry()) as site:
            connection = site.connect()
            client = await connection.__aenter__()
            await client.start("idle", job_id="j")
            nursery.start_soon(wait, client)
            await trio.testing.wait_all_tasks_blocked()
            await connection.__aexit__(None, None, None)

    run(main)


def test_what_on_change_raises_ends_the_block() -> None:
    async def main() -> None:
        def on_change(change: object) -> None:
            if isinstance(change, Disconnected):
                raise ZeroDivisionError

        async with open_site(registry()) as site:
            with pytest.raises(ZeroDivisionError):
                async with site.connect(on_change=on_change):
                    site.cut()
                    await trio.sleep_forever()

    run(main)


def test_an_interrupt_while_it_reconnects_comes_out() -> None:
    async def main() -> None:
        interrupted = False

        async def dial() -> trio.abc.Stream:
            if interrupted:
                raise KeyboardInterrupt
            stream: trio.abc.Stream = await site.dial()
            return stream

        async with open_site(registry()) as site:
            with pytest.raises(KeyboardInterrupt):
                async with connect_with(dial, token="let-me-in"):
                    interrupted = True
                    site.cut()
                    await trio.sleep_forever()

    run(main)


def test_a_job_that_is_gone_with_its_server_is_not_found() -> None:
    async def main() -> None:
        async with (
            open_site(registry()) as one,
            open_site(registry()) as other,
            one.connect() as client,
        ):
            await client.start("idle", job_id="a")
            page = await client.list(limit=1)
            async with client.watch(since=0) as events, trio.open_nursery() as nursery:

                async def wait() -> None:
                    with pytest.raises(ConnectionLost, match="gone with it"):
                        await client.wait("a")
                    with pytest.raises(JobNotFound):
                        await client.wait("a")

                nursery.start_soon(wait)
                await trio.testing.wait_all_tasks_blocked()
                one.successor = other
                one.cut()
                items = [await anext(events)]
                while not isinstance(items[-1], EventsLost):
                    items.append(await anext(events))
            assert items[-1].instance == client.instance == other.sup.instance
            cursor = f"{page.instance}.1.1"
            with pytest.raises(InvalidArguments, match="cursor"):
                await client.list(cursor=cursor)

    run(main)
