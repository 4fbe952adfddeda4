"""Hostile peers against a real server on a real port, and a bystander who cancels jobs meanwhile.

Of each attack three things must hold: the bystander's cancels are answered, with their proofs,
while it goes on; the attackers end as they should; and nothing is left of them, neither task nor
socket. How long the bystander waits is printed, beside how long when all is quiet.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hostile_kit import (
    Arena,
    Assault,
    Bystander,
    Machine,
    bounded,
    machine,
    need_many_sockets,
    open_arena,
)
from hostile_peers import FRAMES
from server_kit import open_tcp_peer

ROUNDS = 10
"""How often the bystander cancels a job during an attack."""

Report = Callable[..., None]


@pytest.fixture(scope="module")
def both() -> Iterator[Machine]:
    """The server's process, and the attackers'."""
    with machine() as processes:
        yield processes


class Range:
    """Attacks on servers of their own, each with its figures."""

    def __init__(self, machine: Machine, report: Report) -> None:
        self._machine = machine
        self._report = report

    @asynccontextmanager
    async def attacked(
        self, name: str, *, title: str = "", limits: dict[str, Any] | None = None, **params: Any
    ) -> AsyncIterator[tuple[Arena, Assault]]:
        """An attack; when the block begins, the bystander has had its answers in the midst of it.

        After it nothing may be left of the attackers.
        """
        async with open_arena(
            self._machine, tls=params.pop("tls", False), **(limits or {})
        ) as arena:
            await prepare(arena, params.pop("prepared", 0))
            await arena.bystander.rounds(2)  # the first of its kind is slower
            arena.quiet = await arena.bystander.rounds(ROUNDS)
            async with arena.attack(name, **params) as assault:
                arena.attacked = await arena.bystander.rounds(ROUNDS)
                yield arena, assault
            await arena.settle()
            self._report("hostile peers (ms)", **{"": title or name}, **arena.row())


async def prepare(arena: Arena, jobs: int) -> None:
    """Give the server jobs to list."""
    for begin in range(0, jobs, 100):
        starts = [{"name": "nap", "job_id": f"page-{begin + n}"} for n in range(100)]
        await arena.bystander.peer.call("job.start_many", jobs=starts)


@pytest.fixture
def range_(both: Machine, figures: Report) -> Range:
    return Range(both, figures)


@pytest.mark.parametrize("name", FRAMES)
def test_frames_that_should_not_be(range_: Range, name: str) -> None:
    async def main() -> None:
        async with range_.attacked(name) as (_, assault):
            pass
        assert set(assault.counts) <= FRAMES[name][1]
        assert assault.counts

    bounded(main)


def test_two_hundred_thousand_empty_fragments(range_: Range) -> None:
    async def main() -> None:
        async with range_.attacked("empty_fragments", count=200_000) as (_, assault):
            pass
        assert set(assault.counts) <= {"1000", "1008", "1009"}

    bounded(main)


@pytest.mark.parametrize("reads", [True, False])
def test_a_flood_of_pings(range_: Range, reads: bool) -> None:
    limits = {"write_seconds": 0.5, "message_bytes": 100_000, "outbox_bytes": 100_000}
    ending = "1009" if reads else "cut off"

    async def main() -> None:
        title = f"pings, answers {'read' if reads else 'not read'}"
        async with range_.attacked("pings", title=title, limits=limits, reads=reads) as (
            _,
            assault,
        ):
            await assault.seen(ending, 8)
        assert set(assault.counts) == {ending}

    bounded(main)


# --- peers that take their time -------------------------------------------------------------------


def test_request_heads_byte_by_byte(range_: Range) -> None:
    limits = {"head_seconds": 0.5}

    async def main() -> None:
        async with range_.attacked("slow_heads", limits=limits, pause=0.02) as (_, assault):
            await assault.seen("408", 50)
        assert set(assault.counts) == {"408", "bytes"}

    bounded(main)


def test_frames_byte_by_byte_before_hello(range_: Range) -> None:
    limits = {"hello_seconds": 0.5}

    async def main() -> None:
        async with range_.attacked(
            "slow_frames", title="slow frames, no token", limits=limits, pause=0.02, token=False
        ) as (_, assault):
            await assault.seen("4408", 50)
        assert set(assault.counts) == {"4408", "bytes"}

    bounded(main)


def test_frames_byte_by_byte_from_a_client_with_a_token(range_: Range) -> None:
    """It is as alive as any other, and costs no more; that it is slow is no reason to end it."""
    limits = {"hello_seconds": 0.2, "heartbeat_seconds": 0.2, "write_seconds": 0.2}

    async def main() -> None:
        async with range_.attacked(
            "slow_frames", title="slow frames, token", limits=limits, pause=0.02, token=True
        ) as (_, assault):
            await assault.seen("bytes", 2000)
        assert set(assault.counts) == {"bytes"}

    bounded(main)


@pytest.mark.parametrize("garbage", [False, True])
def test_tls_handshakes_that_come_to_nothing(range_: Range, garbage: bool) -> None:
    limits = {"head_seconds": 0.5, "close_seconds": 0.2}

    async def main() -> None:
        title = "no TLS at all" if garbage else "TLS handshakes that stall"
        async with range_.attacked(
            "stalled_tls", title=title, limits=limits, garbage=garbage, tls=True
        ) as (_, assault):
            await assault.seen("ended", 50)
        assert set(assault.counts) == {"ended"}

    bounded(main)


@pytest.mark.parametrize("token", [True, False])
def test_peers_that_vanish(range_: Range, token: bool) -> None:
    """Their kernels acknowledge what arrives, which is the harder case: no error ever comes."""
    limits = {"close_seconds": 0.2}
    limits |= {"heartbeat_seconds": 0.3} if token else {"hello_seconds": 0.3}

    async def main() -> None:
        title = f"vanished, {'' if token else 'no '}token"
        async with range_.attacked("vanished", title=title, limits=limits, token=token) as (
            _,
            assault,
        ):
            await assault.seen("cut off", 50)
        assert set(assault.counts) == {"cut off"}

    bounded(main)


def test_a_watcher_that_never_reads(range_: Range) -> None:
    limits = {"write_seconds": 0.5, "outbox_bytes": 1024 * 1024}

    async def main() -> None:
        async with range_.attacked(
            "deaf_watchers", limits=limits, width=2, lines=100_000, size=200
        ) as (_, assault):
            await assault.seen("cut off", 4)
        await_jobs_gone = assault.counts
        assert set(await_jobs_gone) == {"cut off", "subscribed"}

    bounded(main)


def test_one_who_asks_and_never_reads_the_answers(range_: Range) -> None:
    limits = {"write_seconds": 0.5, "outbox_bytes": 1024 * 1024, "close_seconds": 0.2}

    async def main() -> None:
        async with range_.attacked("deaf_askers", limits=limits, prepared=500) as (_, assault):
            await assault.seen("cut off", 2)
        assert set(assault.counts) == {"cut off"}

    bounded(main)


# --- too much of what is allowed ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "batch"),
    [
        ("session.ping", 0),
        ("session.ping", 100),
        ("job.list", 0),
        ("job.list", 100),
        ("server.info", 100),
    ],
)
def test_a_flood_of_requests(range_: Range, method: str, batch: int) -> None:
    async def main() -> None:
        title = f"{method}, {'in batches of 100' if batch else 'one by one'}"
        async with range_.attacked(
            "requests", title=title, method=method, batch=batch, prepared=100
        ) as (_, assault):
            await assault.seen("answers", 20)
        assert set(assault.counts) <= {"answers", "result", "overloaded", "4429"}

    bounded(main)


def test_a_flood_beyond_the_bucket_is_refused_and_then_put_out(range_: Range) -> None:
    limits = {"messages_per_second": 5.0, "messages_burst": 100}

    async def main() -> None:
        title = "job.list, beyond the bucket"
        async with range_.attacked(
            "requests", title=title, limits=limits, method="job.list", batch=0
        ) as (_, assault):
            await assault.seen("4429", 4)
        assert set(assault.counts) == {"answers", "result", "overloaded", "4429"}

    bounded(main)


def test_a_flood_of_subscriptions(range_: Range) -> None:
    async def main() -> None:
        async with range_.attacked("subscriptions", count=200) as (_, assault):
            await assault.seen("subscribed", 4 * 64)
        assert assault.counts == {"subscribed": 4 * 64, "refused": 4 * 136}

    bounded(main)


@pytest.mark.parametrize("upgraded", [False, True])
def test_sockets_without_a_token(range_: Range, upgraded: bool) -> None:
    """There are always more of them than there is room for, and whoever has a token gets in."""

    async def main() -> None:
        title = f"strangers, {'silent' if upgraded else 'without a request'}"
        async with range_.attacked("strangers", title=title, width=300, upgraded=upgraded) as (
            arena,
            assault,
        ):
            for _ in range(3):
                async with open_tcp_peer(arena.address) as peer:
                    await Bystander(peer).cancel()
            await assault.seen("put out", 300)
        assert set(assault.counts) <= {"connected", "put out", "refused"}

    bounded(main)


def test_a_thousand_watchers(range_: Range) -> None:
    need_many_sockets()

    async def main() -> None:
        async with range_.attacked("many_watchers", count=1000) as (arena, assault):
            # Every watcher is told of everything that the bystander did, at once or soon.
            info = await arena.bystander.peer.call("server.info")
            assert info["sessions"] == 1001
            await assault.seen("events", 1000 * ROUNDS * 4)
        assert assault.counts["connected"] == assault.counts["subscribed"] == 1000

    bounded(main)


@pytest.mark.parametrize(
    ("clients", "jobs"), [(100, 100), pytest.param(1000, 1000, marks=pytest.mark.soak)]
)
def test_all_ask_for_a_large_page_at_once(range_: Range, clients: int, jobs: int) -> None:
    need_many_sockets()

    async def main() -> None:
        title = f"{clients} ask for {jobs} jobs"
        async with range_.attacked(
            "many_pages", title=title, count=clients, jobs=jobs, prepared=jobs
        ) as (_, assault):
            # Not even once did the bystander wait until everybody else was served.
            meanwhile = await assault.so_far()
            assert meanwhile.get("pages", 0) < clients
            await assault.seen("pages", clients, patience=150)
        assert set(assault.counts) == {"connected", "pages"}

    bounded(main, patience=200)
