"""Events to many watchers: positions without a gap, bookmarks, work that is shared."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
import trio
import trio.testing
from server_kit import (
    OTHER,
    Peer,
    RawPeer,
    Refused,
    frame,
    handshake,
    open_peer,
    open_world,
    request,
    run,
)
from turns import in_turn

import supervisor._server.fanout as fanout
import supervisor._server.frames as frames
import supervisor._server.session as session
import supervisor._server.stream as stream
from supervisor import _wire_records
from supervisor._model import JobRequest, LogEntry
from supervisor._server import Limits
from supervisor._view import when
from supervisor._watch import EVENTS_BEHIND, Watch

KINDS = ("events.event", "events.bookmark")


async def some_jobs(peer: Peer, n: int, name: str = "nap") -> None:
    """Jobs from their start to their end."""
    for _ in range(n):
        await peer.call("job.run", name=name, args={"seconds": 0} if name == "nap" else {})


def positions(peer: Peer, id: str) -> list[tuple[int, int]]:
    """What the events and bookmarks of a subscription say: before, and after."""
    return [
        (params["prev_seq"], params["seq"])
        for method, params in peer.notifications
        if method in KINDS and params["subscription_id"] == id
    ]


def chained(steps: list[tuple[int, int]], begin: int) -> bool:
    return all(
        prev == before and seq >= prev
        for (prev, seq), before in zip(steps, [begin, *(seq for _, seq in steps)], strict=False)
    )


# --- positions -----------------------------------------------------------------------------------


def test_without_a_filter_every_event_says_the_number_before() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await some_jobs(peer, 3)
            since = {"instance": world.sup.instance, "seq": 2}
            opened = await peer.call("events.subscribe", since=since)
            await some_jobs(peer, 3)
            await peer.call("session.ping")
            assert opened["from_seq"] == 2
            heard = positions(peer, opened["subscription_id"])
            assert heard == [(n, n + 1) for n in range(2, 18)]

    run(main)


def test_with_a_filter_the_position_before_is_the_last_one_told() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            opened = await peer.call("events.subscribe", filter={"name": "fail"})
            for _ in range(3):
                await some_jobs(peer, 2)
                await some_jobs(peer, 1, "fail")
            await peer.call("session.ping")
            heard = positions(peer, opened["subscription_id"])
            assert len(heard) == 9
            assert chained(heard, opened["from_seq"])
            assert [seq - prev for prev, seq in heard] == [7, 1, 1] * 3

    run(main)


def test_lines_and_progress_carry_no_position() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("events.subscribe", logs=True, progress=True)
            await peer.call("job.run", name="talk", args={"lines": 2})
            await peer.call("session.ping")
            kinds = Counter(method for method, _ in peer.notifications)
            assert kinds == {"events.event": 3, "events.log": 2, "events.progress": 1}
            for method, params in peer.notifications:
                assert ("prev_seq" in params) is (method == "events.event")
            assert chained(positions(peer, "e1"), 0)

    run(main)


# --- bookmarks -----------------------------------------------------------------------------------


def test_a_quiet_subscription_hears_where_it_is_and_that_we_are_here() -> None:
    async def main() -> None:
        limits = Limits(bookmark_seconds=10)
        async with open_world(limits=limits) as world, open_peer(world) as peer:
            await peer.call("events.subscribe")
            await some_jobs(peer, 1)
            await trio.sleep(35)
            await peer.call("session.ping")
            assert positions(peer, "e1") == [(0, 1), (1, 2), (2, 3), (3, 3), (3, 3), (3, 3)]
            method, params = peer.notifications[-1]
            assert method == "events.bookmark"
            assert params == {
                "subscription_id": "e1",
                "number": 3,
                "prev_seq": 3,
                "instance": world.sup.instance,
                "seq": 3,
            }

    run(main)


def test_a_bookmark_moves_a_filtered_position_and_the_next_event_follows_it() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("events.subscribe", filter={"name": "fail"})
            await some_jobs(peer, 5)
            await trio.sleep(15)
            await some_jobs(peer, 1, "fail")
            await peer.call("session.ping")
            assert positions(peer, "e1") == [(0, 15), (15, 16), (16, 17), (17, 18)]
            # It is a position to go on from: nothing that matches is at or below it, unsent.
            since = {"instance": world.sup.instance, "seq": 15}
            await peer.call("events.subscribe", filter={"name": "fail"}, since=since)
            await peer.call("session.ping")
            assert positions(peer, "e2") == [(15, 16), (16, 17), (17, 18)]

    run(main)


def test_who_hears_events_is_not_quiet_and_lines_are_not_events() -> None:
    async def main() -> None:
        async with (
            open_world(limits=Limits(bookmark_seconds=10)) as world,
            open_peer(world) as peer,
            open_peer(world, OTHER) as other,
        ):
            await peer.call("events.subscribe", logs=True)
            await other.call("events.subscribe", filter={"job_ids": ["a"]}, logs=True)
            for n in range(5):
                await trio.sleep(4)
                job = "a" if n == 0 else f"b{n}"
                await peer.call("job.start", name="talk", args={"lines": 1}, job_id=job)
            await peer.call("session.ping")
            await other.call("session.ping")
            assert [m for m, _ in peer.notifications].count("events.bookmark") == 0
            assert [m for m, _ in other.notifications].count("events.bookmark") == 1

    run(main)


def test_a_subscription_that_has_ended_gets_no_bookmarks_and_is_forgotten() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            for _ in range(100):
                id = (await peer.call("events.subscribe"))["subscription_id"]
                await peer.call("events.unsubscribe", subscription_id=id)
            assert {each.subscription for each in world.server.fanout._quiet} == {None}
            await trio.sleep(11)
            assert world.server.fanout._quiet == []
            await peer.call("session.ping")
            assert peer.notifications == []

    run(main)


def test_no_bookmark_says_more_than_was_sent() -> None:
    """A slow reader with events that wait: the bookmark comes behind them, or not at all."""

    async def main() -> None:
        limits = Limits(bookmark_seconds=1, write_seconds=1000, outbox_bytes=2000)
        async with open_world(limits=limits) as world, open_peer(world) as peer:
            raw = RawPeer(world.open_stream())
            gate = trio.Event()
            await raw.stream.send_all(handshake() + frame(request("events.subscribe")))
            await raw.head()
            await raw.frame()
            transport = next(
                each.stream._transport
                for each in world.server.sessions
                if each.subscriptions  # the raw one's
            )

            async def closed_gate() -> None:
                await gate.wait()

            transport.send_stream.send_all_hook = closed_gate  # type: ignore[attr-defined,unused-ignore]
            await some_jobs(peer, 30)
            await trio.sleep(10)
            gate.set()
            position = 0
            while position < 90:
                _, payload = await raw.frame()
                params = json.loads(payload)["params"]
                assert params["prev_seq"] == position
                assert params["seq"] == position + 1, "a bookmark jumped over events"
                position = params["seq"]
            await raw.stream.aclose()

    run(main)


def test_while_something_is_unread_there_is_no_bookmark() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("events.subscribe", logs=True)
            (only,) = world.server.sessions
            (subscription,) = only.subscriptions.values()
            world.sup.start_nowait(JobRequest("nap"))
            subscription.bookmark(world.server.fanout.frames, 100.0)
            await peer.call("session.ping")
            assert positions(peer, "e1")[0] == (0, 1)
            assert "events.bookmark" not in [method for method, _ in peer.notifications]
            subscription._watch.offer_line(line(1))  # a line is no part of the position
            subscription.bookmark(world.server.fanout.frames, 100.0)
            await peer.call("session.ping")
            assert [method for method, _ in peer.notifications][-2:] == [
                "events.bookmark",
                "events.log",
            ]

    run(main)


@pytest.mark.parametrize("bad", [0, -1])
def test_the_time_between_bookmarks_is_positive(bad: float) -> None:
    with pytest.raises(ValueError, match="bookmark_seconds"):
        Limits(bookmark_seconds=bad)


def test_bookmarks_of_many_are_sent_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "perf_counter", iter(range(10**9)).__next__)
    monkeypatch.setattr(fanout, "SLICE", 1.5)

    pieces: list[int] = []
    send = fanout.Fanout._send_due_bookmarks

    def counted(self: fanout.Fanout) -> None:
        send(self)
        pieces.append(len(pieces))

    monkeypatch.setattr(fanout.Fanout, "_send_due_bookmarks", counted)

    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            for _ in range(30):
                await peer.call("events.subscribe")
            await trio.sleep(11)
            await peer.call("session.ping")
            assert len(peer.notifications) == 30
            assert len(pieces) >= 30

    run(main)


# --- sharing -------------------------------------------------------------------------------------


def test_an_event_is_built_and_framed_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    built: Counter[Any] = Counter()
    framed: Counter[Any] = Counter()
    make, make_frame = _wire_records.item_to_wire, stream.text_frame

    def item_to_wire(item: Any) -> Any:
        built[getattr(item, "seq", None) or ("line", item.n)] += 1
        return make(item)

    def text_frame(payload: bytes) -> bytes:
        framed[payload] += 1
        return make_frame(payload)

    async def main() -> None:
        async with open_world() as world, trio.open_nursery() as nursery:
            peers: list[Peer] = []

            async def watch(task_status: trio.TaskStatus[None]) -> None:
                async with open_peer(world) as peer:
                    await peer.call("events.subscribe", logs=True)
                    await peer.call("events.subscribe", filter={"name": "talk"})
                    peers.append(peer)
                    task_status.started()
                    await trio.sleep_forever()

            for _ in range(20):
                await nursery.start(watch)
            monkeypatch.setattr(frames, "item_to_wire", item_to_wire)
            monkeypatch.setattr(frames, "text_frame", text_frame)
            await world.sup.start("talk", args={"lines": 2})
            await trio.testing.wait_all_tasks_blocked()
            for peer in peers:
                await peer.call("session.ping")
                assert len(peer.notifications) == 8
            nursery.cancel_scope.cancel()
        assert built == {1: 1, 2: 1, 3: 1, ("line", 1): 1, ("line", 2): 1}
        assert set(framed.values()) == {1}
        assert len(framed) == 8

    run(main)


def test_those_who_have_read_less_far_are_told_their_own_position() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as one, open_peer(world) as two:
            await some_jobs(one, 1)
            for peer, seq in ((one, 0), (two, 3)):
                since = {"instance": world.sup.instance, "seq": seq}
                await peer.call("events.subscribe", since=since, filter={"name": "fail"})
            await some_jobs(one, 1, "fail")
            await one.call("session.ping")
            await two.call("session.ping")
            assert positions(one, "e1") == [(0, 4), (4, 5), (5, 6)]
            assert positions(two, "e1") == [(3, 4), (4, 5), (5, 6)]

    run(main)


def line(n: int, size: int = 1) -> LogEntry:
    return LogEntry(job_id="a", attempt=1, n=n, time=when(0), stream="log", text="x" * size)


@pytest.mark.parametrize("large", [10, 100_000])
def test_what_is_kept_of_frames_is_bounded(large: int) -> None:
    made = frames.Frames()
    watch = Watch(instance="i", from_seq=0)
    for n in range(1000):
        made.of(watch, line(n, large if n % 2 else 10), "e1", 0)
    for kept in (made._bodies, made._frames):
        assert len(kept._made) <= frames.ENTRIES
        assert 0 < kept._size <= frames.BYTES
        assert kept._size == sum(size for _, _, size in kept._made.values())


def test_two_items_at_one_address_are_not_mistaken() -> None:
    """An id is free again when its item is gone; a kept item is not gone."""
    made = frames.Frames()
    watch = Watch(instance="i", from_seq=0)
    for n in range(1, 1000):
        frame_of_it, _ = made.of(watch, line(n), "e1", 0)
        assert b'"n":%d,' % n in frame_of_it


# --- turns ---------------------------------------------------------------------------------------


def test_a_replay_lets_the_others_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout, "perf_counter", iter(range(10**9)).__next__)  # a burst a turn

    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer, open_peer(world) as other:
            jobs = [{"name": "nap", "args": {"seconds": 0}}] * 400
            await peer.call("job.start_many", jobs=jobs)
            await trio.sleep(1)
            since = {"instance": world.sup.instance, "seq": 0}
            await peer.call("events.subscribe", since=since)
            await other.call("session.ping")
            sent = sum(each.stream.sent for each in world.server.sessions)
            assert sent < 1200
            await trio.testing.wait_all_tasks_blocked()
            await peer.call("session.ping")
            assert positions(peer, "e1") == [(n, n + 1) for n in range(1200)]

    in_turn(main)


def test_a_subscription_comes_once_however_often_it_is_said() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("events.subscribe")
            for _ in range(10):
                world.sup.start_nowait(JobRequest("nap"))
            assert len(world.server.fanout._ready) == 1

    run(main)


def test_a_slow_reader_goes_on_when_it_reads_and_the_others_do_not_wait() -> None:
    async def main() -> None:
        limits = Limits(write_seconds=1000, outbox_bytes=2000)
        async with open_world(limits=limits) as world, open_peer(world) as other:
            raw = RawPeer(world.open_stream())
            await raw.stream.send_all(handshake() + frame(request("events.subscribe")))
            await raw.head()
            await raw.frame()
            (slow,) = [each for each in world.server.sessions if each.subscriptions]
            gate = trio.Event()

            async def closed_gate() -> None:
                await gate.wait()

            slow.stream._transport.send_stream.send_all_hook = closed_gate  # type: ignore[attr-defined]
            await other.call("events.subscribe")
            await some_jobs(other, 50)
            await other.call("session.ping")
            assert len(positions(other, "e1")) == 150
            assert len(slow.stream._out) < 10 * 2000 + 65536
            gate.set()
            for n in range(150):
                assert json.loads((await raw.frame())[1])["params"]["seq"] == n + 1
            await raw.stream.aclose()

    run(main)


def test_who_is_too_far_behind_gets_what_there_was_and_is_closed() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("events.subscribe")
            (subscription,) = next(iter(world.server.sessions)).subscriptions.values()
            subscription._watch._events = EVENTS_BEHIND - 333  # as if it had not read those
            for _ in range(400):  # without a checkpoint: nobody can read
                world.sup.start_nowait(JobRequest("nap"))
            assert subscription._watch._lost
            assert await peer.closed() == 1013
            heard = positions(peer, "e1")
            assert heard == [(n, n + 1) for n in range(len(heard))]
            assert len(heard) == 333

    run(main)


# --- the end -------------------------------------------------------------------------------------


def test_the_last_events_go_out_with_the_goodbye_in_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fanout, "perf_counter", iter(range(10**9)).__next__)
    monkeypatch.setattr(session, "LAST_BURSTS", 1)

    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("events.subscribe")
            for _ in range(500):
                world.sup.start_nowait(JobRequest("nap"))
            await world.server.close()
            assert await peer.closed() == 1001
            assert positions(peer, "e1")[:500] == [(n, n + 1) for n in range(500)]
            assert peer.notifications[-1][0] == "session.closing"

    run(main)


def test_who_cannot_be_sent_the_last_events_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        limits = Limits(outbox_bytes=1000)
        async with open_world(limits=limits) as world, open_peer(world) as peer:
            await peer.call("events.subscribe")
            for _ in range(500):
                world.sup.start_nowait(JobRequest("nap"))
            await world.server.close()
            assert await peer.closed() == 1013

    run(main)


def test_who_is_still_behind_when_time_is_up_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def out_of_time(self: fanout.Fanout, subscriptions: Any) -> None:
        pass

    monkeypatch.setattr(fanout.Fanout, "drain", out_of_time)
    monkeypatch.setattr(session, "LAST_BURSTS", 2)

    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer, open_peer(world) as other:
            await peer.call("events.subscribe")
            await other.call("events.subscribe", filter={"name": "fail"})
            for _ in range(500):
                world.sup.start_nowait(JobRequest("nap"))
            for each in [*world.server.sessions]:
                each.say_goodbye("shutdown", 1.0)
            assert await peer.closed() == 1013
            assert await other.closed() == 1001
            assert positions(peer, "e1") == [(n, n + 1) for n in range(100)]

    run(main)


def test_an_unsubscribed_one_hears_nothing_more() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("events.subscribe")
            world.sup.start_nowait(JobRequest("nap"))
            await peer.say(request("events.unsubscribe", 1, subscription_id="e1"))
            await peer.answer(1)
            before = len(peer.notifications)
            await some_jobs(peer, 3)
            await trio.sleep(20)
            await peer.call("session.ping")
            assert len(peer.notifications) == before
            with pytest.raises(Refused):
                await peer.call("events.unsubscribe", subscription_id="e1")

    run(main)


# --- counts --------------------------------------------------------------------------------------


def test_a_ping_tells_how_many_messages_passed() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            first = await peer.call("session.ping")
            assert (first["received"], first["sent"]) == (1, 0)
            await peer.call("events.subscribe")
            await peer.say([request("session.ping", 1), request("session.ping", 2)])
            await peer.hear()
            await peer.tell("job.start", name="nap")
            await peer.say("{oops")
            await peer.event("job.started")  # behind the answer to what was no JSON
            ping = await peer.call("session.ping")
            assert ping["received"] == 6
            assert ping["sent"] == 1 + 1 + 1 + 2 + 1

    in_turn(main)
