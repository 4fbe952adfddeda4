"""`follow_logs`: every line in order, none twice, up to the job's end; here and over the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing
from client_kit import Peer, by_hand, job, line, open_site, registry, run, subscribed
from controls import KINDS, open_control

from supervisor import (
    InvalidArguments,
    JobNotFound,
    JobState,
    LogEntry,
    LogsLagged,
)
from supervisor._watch import LINES_BEHIND
from supervisor.stores._logs import LINES_PER_JOB


async def begin(peer: Peer) -> None:
    """What every follower asks first: how the job is, before it watches and after."""
    await peer.hello()
    await peer.answer(await peer.request("job.get"), {"job": job()})
    await peer.subscribed(0)
    await peer.answer(await peer.request("job.get"), {"job": job()})


async def short(lines: AsyncIterator[LogEntry | LogsLagged]) -> list[Any]:
    """Numbers of lines, and pairs of numbers for those that are gone."""
    return [
        item.n if isinstance(item, LogEntry) else (item.from_n, item.to_n) async for item in lines
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("since", [0, 5, 10, 20])
def test_a_job_that_has_ended(kind: str, since: int) -> None:
    async def main() -> None:
        async with open_control(kind, registry()) as control:
            await (await control.start("talk", args={"lines": 10}, job_id="a")).wait()
            async with control.follow_logs("a", since=since) as lines:
                assert await short(lines) == [*range(since + 1, 11)]
                assert await short(lines) == []

    run(main)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pause", [0.0, 1.0])
@pytest.mark.parametrize("wait", [0.0, 3.5])
def test_a_job_that_runs(kind: str, pause: float, wait: float) -> None:
    async def main() -> None:
        async with open_control(kind, registry()) as control:
            await control.start("talk", args={"lines": 10, "pause": pause}, job_id="a")
            await trio.sleep(wait)
            async with control.follow_logs("a") as lines:
                assert await short(lines) == [*range(1, 11)]

    run(main)


@pytest.mark.parametrize("kind", KINDS)
def test_more_lines_than_a_watcher_is_given(kind: str) -> None:
    """Lines that were dropped for a slow reader come from the log, in their place."""

    async def main() -> None:
        many = 2 * LINES_BEHIND
        async with open_control(kind, registry()) as control:
            start = {"lines": many, "pause": 1.0, "burst": many // 2}
            await control.start("talk", args=start, job_id="a")
            async with control.follow_logs("a") as lines:
                assert (await anext(lines)) is not None
                await trio.sleep(10)
                assert await short(lines) == [*range(2, many + 1)]

    run(main)


@pytest.mark.parametrize("kind", KINDS)
def test_lines_that_the_log_no_longer_has(kind: str) -> None:
    async def main() -> None:
        many = LINES_PER_JOB + 300
        async with open_control(kind, registry()) as control:
            start = {"lines": many, "burst": many}
            await (await control.start("talk", args=start, job_id="a")).wait()
            async with control.follow_logs("a", since=100) as lines:
                assert await short(lines) == [(101, 300), *range(301, many + 1)]

    run(main)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_job_that_nobody_knows(kind: str) -> None:
    async with open_control(kind, registry()) as control:
        with pytest.raises(JobNotFound):
            async with control.follow_logs("nobody"):
                pass


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("since", [-1, 1.5, None, True])
async def test_a_bad_place_to_begin(kind: str, since: Any) -> None:
    async with open_control(kind, registry()) as control:
        with pytest.raises(InvalidArguments, match="since"):
            async with control.follow_logs("a", since=since):
                pass


@pytest.mark.parametrize("kind", KINDS)
def test_who_gives_up_waiting_for_a_line_may_ask_again(kind: str) -> None:
    async def main() -> None:
        async with open_control(kind, registry()) as control:
            await control.start("talk", args={"lines": 10, "pause": 1.0}, job_id="a")
            told: list[int] = []
            async with control.follow_logs("a") as lines:
                while True:
                    with trio.move_on_after(0.3):
                        try:
                            item = await anext(lines)
                        except StopAsyncIteration:
                            break
                        assert isinstance(item, LogEntry)
                        told.append(item.n)
            assert told == [*range(1, 11)]

    run(main)


@pytest.mark.parametrize("steps", range(60))
def test_who_is_cancelled_anywhere_may_ask_again(steps: int) -> None:
    """A call that is cancelled after so many checkpoints loses nothing."""

    async def main() -> None:
        async with open_control("local", registry()) as control:
            args = {"lines": 6, "burst": 2}
            await control.start("talk", args=args, job_id="a")
            told: list[Any] = []
            async with control.follow_logs("a") as lines:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(collect, lines, told)
                    for _ in range(steps):
                        await trio.lowlevel.checkpoint()
                    nursery.cancel_scope.cancel()
                told += await short(lines)
            assert told == [*range(1, 7)]

    async def collect(lines: AsyncIterator[LogEntry | LogsLagged], told: list[Any]) -> None:
        async for item in lines:
            told.append(item.n if isinstance(item, LogEntry) else None)

    run(main)


# --- over connections that break ------------------------------------------------------------------


@pytest.mark.parametrize("outage", [0.0, 2.5, 20.0])
@pytest.mark.parametrize("when", [0.0, 0.5, 3.5, 9.5, 10.5])
def test_a_connection_that_breaks_loses_no_line(outage: float, when: float) -> None:
    async def main() -> None:
        async with open_site(registry()) as site, site.connect(reconnect_timeout=60) as client:
            await client.start("talk", args={"lines": 10, "pause": 1.0}, job_id="a")

            async def break_it() -> None:
                await trio.sleep(when)
                site.down = True
                site.cut()
                await trio.sleep(outage)
                site.down = False

            async with trio.open_nursery() as nursery, client.follow_logs("a") as lines:
                nursery.start_soon(break_it)
                assert await short(lines) == [*range(1, 11)]

    run(main)


def test_lines_lost_just_before_the_end_are_found() -> None:
    log = [{**line(n), "stream": "log"} for n in range(1, 6)]

    async def script(peer: Peer) -> None:
        await peer.hello()
        ended = False
        while True:
            request = await peer.request()
            match request["method"]:
                case "job.get":
                    await peer.answer(request, {"job": job(log_lines=5)})
                case "events.subscribe":
                    await peer.answer(request, subscribed(0))
                case "job.logs":
                    since = request["params"]["since"]
                    entries = log[since : 5 if ended else 3]
                    following = since + len(entries)
                    await peer.answer(
                        request, {"entries": entries, "next": following, "eof": following == 5}
                    )
                    if not ended and not entries:
                        ended = True
                        await peer.line(4)
                        await peer.event(1, type="job.finished", state="succeeded")

    async def main() -> None:
        async with by_hand(script) as (client, _), client.follow_logs("j") as lines:
            assert await short(lines) == [1, 2, 3, 4, 5]

    run(main)


def test_a_server_that_forgot_the_job_after_its_end_spoils_nothing() -> None:
    """It ended with its server, and the one that is there now does not know it."""

    async def script(peer: Peer) -> None:
        await begin(peer)
        await peer.line(1)
        await peer.event(1, type="job.finished", state="cancelled")
        await peer.refuse(await peer.request("job.logs"), -32001, "job_not_found")
        await trio.sleep_forever()

    async def main() -> None:
        async with by_hand(script) as (client, _), client.follow_logs("j") as lines:
            assert await short(lines) == [1]

    run(main)


def test_an_end_among_lost_events_is_found() -> None:
    async def first(peer: Peer) -> None:
        await begin(peer)

    async def second(peer: Peer) -> None:
        await peer.hello()
        while True:
            request = await peer.request()
            match request["method"]:
                case "job.list":
                    await peer.answer(request, {"jobs": [], "instance": "i", "seq": 70})
                case "events.subscribe" if "since" in request["params"]:
                    await peer.refuse(request, -32010, "replay_gone", head_seq=70)
                case "events.subscribe":
                    await peer.answer(request, subscribed(70))
                case "job.get":
                    await peer.answer(request, {"job": job(state="succeeded", log_lines=1)})
                case "job.logs":
                    since = request["params"]["since"]
                    page = {"entries": [line(1)][since:], "next": 1, "eof": True}
                    await peer.answer(request, page)

    async def main() -> None:
        async with by_hand(first, second) as (client, _), client.follow_logs("j") as lines:
            assert await short(lines) == [1]

    run(main)


def test_a_job_of_a_server_that_was_replaced_is_not_found() -> None:
    async def main() -> None:
        async with (
            open_site(registry()) as one,
            open_site(registry()) as other,
            one.connect() as client,
        ):
            await client.start("talk", args={"lines": 9, "pause": 9.0}, job_id="a")
            with pytest.raises(JobNotFound):
                async with client.follow_logs("a") as lines:
                    await anext(lines)
                    one.successor = other
                    one.cut()
                    await short(lines)

    run(main)


def test_a_server_that_shuts_down_gives_the_last_lines_first() -> None:
    async def main() -> None:
        async with open_site(registry()) as site, site.connect() as client:
            await client.start("talk", args={"lines": 9, "pause": 1.0}, job_id="a")
            async with client.follow_logs("a") as lines, trio.open_nursery() as nursery:

                async def leave() -> None:
                    await trio.sleep(4.5)
                    site.sup.shutdown_nowait("cancel")
                    await site.sup.drained.wait()
                    site.down = True
                    await site.server.close()

                nursery.start_soon(leave)
                began = trio.current_time()
                assert await short(lines) == [1, 2, 3, 4, 5]
                # The last look into the log does not wait for another server to come.
                assert trio.current_time() - began < 15
        assert site.sup.get_nowait("a").state is JobState.CANCELLED

    run(main)
