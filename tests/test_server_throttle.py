"""Buckets: a burst, a rate, a clock that may do anything; and who overdoes it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from server_kit import Refused, open_peer, open_world, request, run
from trio_websocket import ConnectionClosed

from supervisor._server import Limits
from supervisor._server.throttle import Bucket, Throttle, Verdict

# --- one bucket ----------------------------------------------------------------------------------


def test_a_burst_at_once_and_then_the_rate() -> None:
    bucket = Bucket(8, 5, now=100.0)
    assert [bucket.take(1, 100.0) for _ in range(5)] == [0.0] * 5
    assert bucket.take(1, 100.0) == 0.125
    assert bucket.take(1, 100.0625) == 0.0625
    assert bucket.take(1, 100.125) == 0.0
    assert bucket.take(1, 100.125) > 0.0


def test_it_never_holds_more_than_a_burst() -> None:
    bucket = Bucket(10, 5, now=0.0)
    assert sum(bucket.take(1, 1e6) == 0.0 for _ in range(100)) == 5


def test_what_is_refused_takes_nothing() -> None:
    bucket = Bucket(10, 5, now=0.0)
    assert bucket.take(4, 0.0) == 0.0
    assert bucket.take(2, 0.0) > 0.0
    assert bucket.take(1, 0.0) == 0.0


def test_more_than_a_burst_comes_through_when_the_bucket_is_full() -> None:
    bucket = Bucket(10, 5, now=0.0)
    assert bucket.take(1000, 0.0) == 0.0
    wait = bucket.take(1000, 0.0)
    assert wait == pytest.approx(0.5)
    assert bucket.take(1000, wait) == 0.0


def test_a_clock_that_goes_back_gives_nothing_and_locks_nobody_out() -> None:
    bucket = Bucket(10, 5, now=1000.0)
    assert bucket.take(5, 1000.0) == 0.0
    assert bucket.take(1, 10.0) > 0.0  # an hour earlier
    assert bucket.take(1, 10.2) == 0.0  # and time goes on from there


@given(
    st.floats(0.1, 1e6),
    st.integers(1, 10**6),
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1e7)), max_size=30),
)
def test_no_more_is_taken_than_a_burst_and_what_time_brought(
    rate: float, burst: int, steps: list[tuple[float, float]]
) -> None:
    bucket, now, taken, passed = Bucket(rate, burst, now=0.0), 0.0, 0.0, 0.0
    for step, amount in steps:
        now += step
        passed += max(0.0, step)
        wait = bucket.take(amount, now)
        assert 0.0 <= wait <= burst / rate * (1 + 1e-9)
        if not wait:
            taken += min(amount, burst)
        assert taken <= (burst + passed * rate) * (1 + 1e-6) + 1e-3


def test_whoever_waits_as_long_as_told_is_let_through() -> None:
    bucket = Bucket(3, 7, now=0.0)
    now = 0.0
    for _ in range(50):
        now += bucket.take(2, now) + 1e-9
        assert bucket.take(0, now) == 0.0


def test_what_is_there_is_spent_without_a_look_at_the_clock() -> None:
    bucket = Bucket(10, 5, now=0.0)
    assert [bucket.spend(2) for _ in range(3)] == [True, True, False]
    assert bucket.take(1, 0.0) == 0.0
    assert bucket.take(1, 0.0) == pytest.approx(0.1)


@given(st.floats(0.1, 1e4), st.integers(1, 1000), st.lists(st.floats(0, 100), max_size=50))
def test_spending_first_gives_two_bursts_at_most(
    rate: float, burst: int, steps: list[float]
) -> None:
    bucket, now, taken = Bucket(rate, burst, now=0.0), 0.0, 0
    for step in steps:
        now += step
        for _ in range(burst):
            taken += bucket.spend(1) or bucket.take(1, now) == 0.0
    assert taken <= (2 * burst + now * rate) * (1 + 1e-6) + 1e-3


def test_a_message_that_is_refused_for_its_bytes_or_number_is_judged() -> None:
    throttle = Throttle(Limits(messages_burst=2, bytes_burst=100), 0.0)
    assert throttle.spend(60, urgent=False)
    assert not throttle.spend(60, urgent=False)
    assert throttle.spend(10, urgent=False)
    assert not throttle.spend(10, urgent=False)
    assert throttle.spend(10, urgent=True)


# --- a connection --------------------------------------------------------------------------------

FEW = Limits(messages_per_second=10, messages_burst=5)


def test_what_is_urgent_has_an_allowance_of_its_own() -> None:
    throttle = Throttle(FEW, 0.0)
    assert [throttle.judge(10, 0.0, urgent=False) for _ in range(6)][-1] is Verdict.REFUSE
    assert throttle.retry_after == pytest.approx(0.1)
    assert [throttle.judge(10, 0.0, urgent=True) for _ in range(5)] == [Verdict.TAKE] * 5
    assert throttle.judge(10, 0.0, urgent=True) is Verdict.REFUSE


def test_another_burst_refused_and_it_is_enough() -> None:
    throttle = Throttle(FEW, 0.0)
    verdicts = [throttle.judge(10, 0.0, urgent=False) for _ in range(11)]
    assert verdicts == [Verdict.TAKE] * 5 + [Verdict.REFUSE] * 5 + [Verdict.PUT_OUT]


def test_who_asks_only_a_little_too_fast_may_stay() -> None:
    throttle = Throttle(FEW, 0.0)
    verdicts = [throttle.judge(10, n / 19, urgent=False) for n in range(1000)]  # 19 a second
    assert Verdict.PUT_OUT not in verdicts
    assert 500 < verdicts.count(Verdict.TAKE) < 550


def test_bytes_count_too() -> None:
    throttle = Throttle(Limits(bytes_per_second=1000, bytes_burst=5000), 0.0)
    assert [throttle.judge(2000, 0.0, urgent=False) for _ in range(3)][1:] == [
        Verdict.TAKE,
        Verdict.REFUSE,
    ]
    assert throttle.retry_after == pytest.approx(1.0)
    assert throttle.judge(2000, 1.0, urgent=False) is Verdict.TAKE


# --- over a connection ---------------------------------------------------------------------------


def test_too_many_messages_are_refused_undone_and_a_cancel_is_not() -> None:
    async def main() -> None:
        limits = Limits(messages_per_second=1, messages_burst=10)
        async with open_world(limits=limits) as world, open_peer(world) as peer:
            await peer.call("job.start", name="nap", job_id="a")
            wait = await peer.ask("job.wait", job_id="a")
            for n in range(8):
                await peer.call("job.start", name="nap", job_id=f"b{n}")
            with pytest.raises(Refused) as refused:
                await peer.call("job.start", name="nap", job_id="c")
            assert refused.value.data["kind"] == "overloaded"
            assert refused.value.data["retryable"] is True
            assert 0.9 <= refused.value.data["retry_after"] <= 1.0
            assert len(world.jobs()) == 9
            await peer.tell("job.start", name="nap", job_id="d")  # not done, not answered
            assert (await peer.call("session.ping"))["received"] == 13
            await peer.cancel(wait)
            with pytest.raises(Refused):
                await peer.answer(wait)
            assert (await peer.call("job.cancel", job_id="a"))["outcome"] == "cancelling"
            await trio.sleep(1.1)
            await peer.call("job.start", name="nap", job_id="c")
            assert "d" not in world.jobs()

    run(main)


def test_the_items_of_a_batch_are_counted() -> None:
    async def main() -> None:
        limits = Limits(messages_per_second=1, messages_burst=10)
        async with open_world(limits=limits) as world, open_peer(world) as peer:
            batch = [request("job.get", n, job_id="a") for n in range(12)]
            batch.insert(11, request("job.cancel", 99, job_id="a"))
            batch.insert(11, {"jsonrpc": "2.0", "id": 98, "oops": 1})
            await peer.say(batch)
            answers = await peer.hear()
            assert [each["id"] for each in answers] == [*range(11), 98, 99, 11]
            kinds = [each["error"]["data"]["kind"] for each in answers]
            assert kinds == ["job_not_found"] * 10 + ["overloaded"] * 2 + [
                "job_not_found",
                "overloaded",
            ]

    run(main)


def test_large_messages_are_refused_until_there_are_bytes_again() -> None:
    async def main() -> None:
        limits = Limits(bytes_per_second=1000, bytes_burst=10_000)
        async with open_world(limits=limits) as world, open_peer(world) as peer:
            text = "x" * 4000
            for _ in range(2):
                await peer.call("job.start", name="nap", args={"value": text})
            with pytest.raises(Refused) as refused:
                await peer.call("job.start", name="nap", args={"value": text})
            assert refused.value.data["kind"] == "overloaded"
            await trio.sleep(refused.value.data["retry_after"] + 0.2)
            await peer.call("job.start", name="nap", args={"value": text})
            assert len(world.jobs()) == 3

    run(main)


@pytest.mark.parametrize("method", ["job.get", "job.cancel"])
def test_a_flood_is_put_out_and_told_why(method: str) -> None:
    async def main() -> None:
        limits = Limits(messages_per_second=1, messages_burst=20)
        async with (
            open_world(limits=limits) as world,
            open_peer(world) as peer,
            open_peer(world) as other,
        ):
            answers: list[Any] = []
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def flood() -> None:
                    with suppress(ConnectionClosed):
                        for n in range(50):
                            await peer.ask(method, id=n, job_id="a")

                while not answers or "method" not in answers[-1]:
                    answers.append(await peer.hear())
                assert await peer.closed() == 4429
                nursery.cancel_scope.cancel()
            about = answers.pop()
            assert about["method"] == "session.closing"
            assert about["params"]["reconnect_after"] > 0
            kinds = [each["error"]["data"]["kind"] for each in answers]
            assert kinds == ["job_not_found"] * 20 + ["overloaded"] * 21
            await other.call("session.ping")

    run(main)


def test_the_limits_are_told() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            limits = (await peer.call("session.hello"))["limits"]
            assert limits["messages_per_second"] == world.server.limits.messages_per_second
            assert limits["bytes_burst"] == world.server.limits.bytes_burst

    run(main)
