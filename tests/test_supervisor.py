"""What a supervisor answers: defaults, words of errors, who asked, and what a bulk call shares."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, ClassVar

import pytest
import trio
from fakes import RESISTING, Body, Script, forever, open_sup, run, settle

from supervisor import (
    CancelOutcome,
    CancelReply,
    CancelRequest,
    Cause,
    InvalidArguments,
    Job,
    JobFilter,
    JobIdConflict,
    JobNotFound,
    JobRequest,
    JobState,
    ReplayGone,
    Rung,
    ShuttingDown,
    Supervisor,
    SupervisorError,
)
from supervisor._engine import CHUNK
from supervisor._records import Request
from supervisor._view import when
from supervisor.abc import JobHandle
from supervisor.stores.memory import MemoryStore


def with_sup(test: Callable[[Supervisor], Awaitable[None]], **options: Any) -> None:
    """The test inside an open supervisor, whose jobs are killed afterwards."""

    async def main() -> None:
        async with open_sup(**options) as sup:
            await test(sup)
            for each in RESISTING:
                each.yield_now()
            await sup.cancel_many(JobFilter(), force=True)

    run(main)


async def start_scripts(sup: Supervisor, number: int, **options: Any) -> list[Script]:
    scripts = [Script(obeys=False) for _ in range(number)]
    await sup.start_many([JobRequest(script, **options) for script in scripts])
    await settle()
    return scripts


def first_request(reply: CancelReply | SupervisorError) -> CancelRequest:
    assert isinstance(reply, CancelReply)
    assert reply.first_request is not None
    return reply.first_request


def job_of(reply: CancelReply | SupervisorError) -> Job:
    assert isinstance(reply, CancelReply)
    assert reply.job is not None
    return reply.job


def requests_of(sup: Supervisor) -> list[Request]:
    """The requests that began the stops of the live jobs."""
    return [entry.record.stop.first for entry in sup._engine.live.values()]  # type: ignore[union-attr]


class Steps(trio.abc.Instrument):
    """What is seen each time the task that made this lets others run."""

    def __init__(self, look: Callable[[], int]) -> None:
        self.look = look
        self.seen: list[int] = []
        self.task = trio.lowlevel.current_task()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.seen.append(self.look())


async def steps_of(work: Callable[[], Awaitable[Any]], look: Callable[[], int]) -> list[int]:
    steps = Steps(look)
    trio.lowlevel.add_instrument(steps)
    await work()
    trio.lowlevel.remove_instrument(steps)
    return steps.seen


# --- starting ---------------------------------------------------------------------------------


def test_a_supervisor_shows_whether_it_takes_jobs() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            await sup.start(forever)
            assert repr(sup) == f"<Supervisor {sup.instance} open: 1 live jobs>"
            await sup.shutdown("drain")
            assert repr(sup) == f"<Supervisor {sup.instance} closing: 1 live jobs>"
            await sup.shutdown()

    run(main)


def test_a_handle_shows_its_job() -> None:
    async def test(sup: Supervisor) -> None:
        handle = await sup.start(forever, job_id="a")
        await settle()
        assert repr(handle) == "<JobHandle a: running>"

    with_sup(test)


def test_who_starts_a_job_is_on_its_record() -> None:
    async def test(sup: Supervisor) -> None:
        request = JobRequest(forever)
        handles = [
            await sup.start(forever),
            sup.start_nowait(request),
            *await sup.start_many([request]),
            await sup.start(forever, requester="me"),
            sup.start_nowait(request, requester="me"),
            *await sup.start_many([request], requester="me"),
        ]
        who = [handle.record.requester for handle in handles if isinstance(handle, JobHandle)]
        assert who == ["local"] * 3 + ["me"] * 3

    with_sup(test)


def test_options_of_a_start_are_on_the_record() -> None:
    async def test(sup: Supervisor) -> None:
        handle = await sup.start(
            forever,
            name="n",
            labels={"a": "b"},
            grace=1,
            notice=2,
            timeout=300,
            on_disconnect="cancel",
        )
        job = handle.record
        assert (job.name, job.labels, job.on_disconnect) == ("n", {"a": "b"}, "cancel")
        assert (job.grace, job.notice, job.timeout) == (1.0, 2.0, 300.0)

    with_sup(test)


def test_ids_of_the_supervisors_own_choice_are_counted() -> None:
    async def test(sup: Supervisor) -> None:
        first, second = [(await sup.start(forever)).id for _ in range(2)]
        prefix, _, number = first.rpartition("-")
        assert (prefix[0], len(prefix), number) == ("j", 5, "1")
        assert second == f"{prefix}-2"

    with_sup(test)


def test_an_id_of_the_supervisors_own_choice_that_somebody_took_is_a_conflict() -> None:
    async def test(sup: Supervisor) -> None:
        prefix = (await sup.start(forever)).id.removesuffix("1")
        await sup.start(Body(), job_id=f"{prefix}3")  # the second start; the next id is the third
        with pytest.raises(JobIdConflict, match=rf"job {prefix}3 is "):
            await sup.start(forever)
        assert (await sup.start(forever)).id == f"{prefix}4"

    with_sup(test)


def test_starting_many_lets_others_run_after_every_hundred() -> None:
    async def test(sup: Supervisor) -> None:
        requests = [JobRequest(forever) for _ in range(2 * CHUNK + 50)]
        seen = await steps_of(lambda: sup.start_many(iter(requests)), lambda: len(sup._engine.live))
        assert seen == [0, 100, 200]
        assert len(sup._engine.live) == 250

    with_sup(test)


def test_a_start_of_many_that_is_cancelled_on_the_way_starts_them_all() -> None:
    async def test(sup: Supervisor) -> None:
        async def start() -> None:
            requests = [JobRequest(forever) for _ in range(2 * CHUNK + 50)]
            with trio.CancelScope() as scope:

                def first_then_cancel() -> Iterator[JobRequest]:
                    for request in requests:
                        yield request
                        scope.cancel()

                answers = await sup.start_many(first_then_cancel())
                assert len(answers) == len(requests)

        await start()
        assert len(sup._engine.live) == 2 * CHUNK + 50

    with_sup(test)


def test_the_words_of_a_refused_start() -> None:
    async def main() -> None:
        async with open_sup() as sup:
            await sup.start(forever, job_id="a")
            await settle()
            with pytest.raises(JobIdConflict) as caught:
                await sup.start(Body(), job_id="a")
            assert str(caught.value) == (
                "job a is running, and other work or arguments are asked for now; choose another "
                "id, cancel it first, or start with id_conflict_policy='replace'"
            )
            assert caught.value.data == {"job_id": "a", "state": JobState.RUNNING}
            with pytest.raises(JobIdConflict) as caught:
                await sup.start(forever, job_id="a", id_conflict_policy="fail")
            assert str(caught.value).startswith("job a is running; choose another id, cancel")
            await sup.cancel("a", wait="finished")
            with pytest.raises(JobIdConflict) as caught:
                await sup.start(Body(), job_id="a")
            assert str(caught.value) == (
                "job a has ended (cancelled), and other work or arguments are asked for now; "
                "choose another id, or start with id_reuse_policy='allow'"
            )
            assert caught.value.data == {"job_id": "a", "state": JobState.CANCELLED}
            with pytest.raises(JobIdConflict) as caught:
                await sup.start(forever, job_id="a", id_reuse_policy="reject")
            assert str(caught.value).startswith("job a has ended (cancelled); choose another id,")
            await sup.shutdown()
            with pytest.raises(ShuttingDown) as closed:
                await sup.start(forever)
            assert str(closed.value) == "the supervisor is shutting down and takes no new jobs"

    run(main)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("id_conflict_policy", "'fail', 'use_existing', 'replace'"),
        ("id_reuse_policy", "'use_existing', 'allow', 'allow_failed_only', 'reject'"),
    ],
)
def test_a_policy_that_there_is_not_is_refused_by_name(option: str, words: str) -> None:
    async def test(sup: Supervisor) -> None:
        with pytest.raises(InvalidArguments) as caught:
            await sup.start(forever, job_id="a", **{option: "maybe"})
        assert caught.value.data == {"path": f"$.{option}"}
        assert str(caught.value).startswith(f"{option} must be one of ")
        assert all(word in str(caught.value) for word in words.split(", "))
        with pytest.raises(InvalidArguments):
            await sup.start(forever, id_conflict_policy="maybe", id_reuse_policy="maybe")
        assert not sup._engine.live

    with_sup(test)


def test_each_policy_is_taken_for_what_it_is_about() -> None:
    async def test(sup: Supervisor) -> None:
        await sup.start(forever, job_id="a")
        with pytest.raises(JobIdConflict):
            await sup.start(forever, job_id="a", id_conflict_policy="fail")
        await sup.cancel("a", wait="finished")
        again = await sup.start(forever, job_id="a", id_reuse_policy="allow")
        assert again.record.attempt == 2
        await again.cancel(wait="finished")
        known = await sup.start(forever, job_id="a", id_conflict_policy="fail")
        assert (known.created, known.record.attempt) == (False, 2)

    with_sup(test)


def test_a_word_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    async def test(sup: Supervisor) -> None:
        await sup.start(forever, job_id="a")
        for name, words, call in (
            ("if_remembered", "'cancel' or 'run'", lambda: sup.start(forever, if_remembered="x")),
            ("wait", "'accepted' or 'finished'", lambda: sup.cancel("a", wait="x")),
            ("if_unknown", "'error' or 'remember'", lambda: sup.cancel("a", if_unknown="x")),
            ("mode", "'cancel' or 'drain'", lambda: sup.shutdown("x")),
        ):
            with pytest.raises(InvalidArguments) as caught:
                await call()
            assert str(caught.value) == f"{name} must be {words}, not 'x'"
            assert caught.value.data == {"path": f"$.{name}"}
        assert sup.accepting

    with_sup(test)


def test_a_retry_of_a_job_that_has_ended_gives_a_handle_of_its_record() -> None:
    async def test(sup: Supervisor) -> None:
        handle = await sup.start(forever, job_id="a")
        await handle.cancel(wait="finished")
        again = await sup.start(forever, job_id="a")
        assert not again.created
        assert again.record == handle.record
        assert again.record.seq == handle.record.seq > 0
        assert await again.wait() == handle.record

    with_sup(test)


def test_the_request_of_a_replacement_says_who_and_why() -> None:
    async def test(sup: Supervisor) -> None:
        (script,) = await start_scripts(sup, 1, job_id="a", grace=7.0)
        await trio.sleep(5)
        asked_at = when(sup._engine.wall())
        successor = await sup.start(
            Body(), job_id="a", id_conflict_policy="replace", requester="me", grace=1.0
        )
        assert successor.created
        assert script.signals == ["TERM"]
        reply = sup.cancel_nowait("a")
        assert first_request(reply) == CancelRequest(
            requester="me",
            cause=Cause.REPLACED,
            at=asked_at,
            grace=7.0,
            reason="replaced by a new start",
            force=False,
        )
        assert first_request(reply).force is False
        assert reply.successor_dropped is True
        assert sup.cancel_nowait("a").successor_dropped is False

    with_sup(test)


# --- cancelling one -----------------------------------------------------------------------------


def test_who_cancels_a_job_is_on_record() -> None:
    async def test(sup: Supervisor) -> None:
        who = []
        for ask in (
            lambda handle: handle.cancel(),
            lambda handle: sup.cancel(handle.id),
            lambda handle: sup.cancel(handle.id, requester="me"),
        ):
            who.append(first_request(await ask(await sup.start(Script(obeys=False)))).requester)
        for options in ({}, {"requester": "me"}):
            handle = await sup.start(Script(obeys=False))
            who.append(first_request(sup.cancel_nowait(handle.id, **options)).requester)
            handle = await sup.start(Script(obeys=False))
            (reply,) = await sup.cancel_many(JobFilter(job_ids=(handle.id,)), **options)
            who.append(first_request(reply).requester)
            handle = await sup.start(Script(obeys=False))
            (_,) = list(sup.cancel_steps(JobFilter(job_ids=(handle.id,)), **options))
            who.append(first_request(sup.cancel_nowait(handle.id)).requester)
        assert who == ["local", "local", "me", "local", "local", "local", "me", "me", "me"]

    with_sup(test)


def test_what_is_asked_is_asked_of_the_job() -> None:
    async def test(sup: Supervisor) -> None:
        options: dict[str, Any] = {"reason": "why", "grace": 3.0, "force": True}
        replies = []
        for ask in (
            lambda handle: handle.cancel(**options),
            lambda handle: sup.cancel(handle.id, **options),
        ):
            replies.append(await ask(await sup.start(Script(dies=False))))
        handle = await sup.start(Script(dies=False))
        replies.append(sup.cancel_nowait(handle.id, **options))
        handle = await sup.start(Script(dies=False))
        replies += await sup.cancel_many(JobFilter(job_ids=(handle.id,)), **options)
        for reply in replies:
            request = first_request(reply)
            assert (request.reason, request.grace, request.force) == ("why", 3.0, True)
            assert request.cause is Cause.USER

    with_sup(test)


def test_nobody_is_killed_who_was_not_to_be() -> None:
    async def test(sup: Supervisor) -> None:
        scripts = await start_scripts(sup, 5)
        ids = list(sup._engine.live)
        replies = [
            await sup.cancel(ids[0]),
            sup.cancel_nowait(ids[1]),
            *await sup.cancel_many(JobFilter(job_ids=(ids[2],))),
        ]
        list(sup.cancel_steps(JobFilter(job_ids=(ids[3],))))
        await (await sup.start(scripts[4], job_id=ids[4])).cancel()
        assert [job_of(reply).rung for reply in replies] == [Rung.CANCEL] * 3
        assert [script.signals for script in scripts] == [["TERM"]] * 5

    with_sup(test)


def test_a_handle_waits_no_longer_than_it_is_told() -> None:
    async def test(sup: Supervisor) -> None:
        handle = await sup.start(Script(obeys=False), grace=60)
        await settle()
        began = trio.current_time()
        reply = await handle.cancel(wait="finished", timeout=3)
        assert trio.current_time() - began == 3
        assert (reply.outcome, job_of(reply).state) == ("cancelling", JobState.CANCELLING)

    with_sup(test)


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"timeout": -1}, "$.timeout"),
        ({"wait": "later"}, "$.wait"),
        ({"reason": ""}, "$.reason"),
        ({"grace": -1}, "$.grace"),
        ({"force": 1}, "$.force"),
    ],
    ids=repr,
)
def test_an_odd_cancel_is_refused_wherever_it_is_asked(options: dict[str, Any], path: str) -> None:
    async def test(sup: Supervisor) -> None:
        handle = await sup.start(Script(), job_id="a")
        await settle()
        for ask in (
            lambda: handle.cancel(**options),
            lambda: sup.cancel("a", **options),
            lambda: sup.cancel_many(JobFilter(), **options),
            lambda: sup.cancel_many(JobFilter(job_ids=()), **options),
        ):
            with pytest.raises(InvalidArguments) as caught:
                await ask()
            assert caught.value.data == {"path": path}
            assert handle.state is JobState.RUNNING

    with_sup(test)


def test_a_cancel_of_another_attempt_answers_with_the_one_there_is() -> None:
    async def test(sup: Supervisor) -> None:
        await start_scripts(sup, 1, job_id="a")
        running = sup.cancel_nowait("a", attempt=2)
        assert (running.outcome, job_of(running).state) == ("stale_attempt", JobState.RUNNING)
        assert (running.seq, running.first_request) == (sup.head_seq, None)
        sup.cancel_nowait("a", reason="the first", attempt=1)
        stale = sup.cancel_nowait("a", attempt=2)
        assert first_request(stale).reason == "the first"
        assert not stale.successor_dropped

    with_sup(test)


def test_a_wait_for_the_end_of_another_attempt_answers_at_once() -> None:
    async def test(sup: Supervisor) -> None:
        await start_scripts(sup, 1, job_id="a")
        sup.cancel_nowait("a", reason="the first")
        stale = sup.cancel_nowait("a", attempt=2)
        reply = await sup.when_gone(stale)()
        assert reply.outcome is CancelOutcome.STALE_ATTEMPT
        assert first_request(reply).reason == "the first"

    with_sup(test)


def test_a_reply_that_waited_tells_what_was_dropped_and_where_it_stood() -> None:
    async def test(sup: Supervisor) -> None:
        replies = []
        for waits in (
            lambda: sup.cancel("a", wait="finished"),
            lambda: sup.when_gone(sup.cancel_nowait("a"))(),
            lambda: sup.cancel_many(JobFilter(job_ids=("a",)), wait="finished"),
        ):
            await sup.start(Script(leaving=5.0), job_id="a", id_reuse_policy="allow")
            await settle()
            await sup.start(Body(), job_id="a", id_conflict_policy="replace")
            asked_at = sup.head_seq
            answer = await waits()
            replies.append(answer if isinstance(answer, CancelReply) else answer[0])
            assert asked_at <= replies[-1].seq < sup.head_seq
        for reply in replies:
            assert reply.successor_dropped is True
            assert job_of(reply).state is JobState.CANCELLED
            assert reply.certificate is not None
            assert first_request(reply).reason == "replaced by a new start"

    with_sup(test)


def test_waiting_for_the_end_of_a_reply_may_have_a_timeout() -> None:
    async def test(sup: Supervisor) -> None:
        await start_scripts(sup, 1, job_id="a", grace=60)
        began = trio.current_time()
        reply = await sup.when_gone(sup.cancel_nowait("a"), timeout=4)()
        assert trio.current_time() - began == 4
        assert job_of(reply).state is JobState.CANCELLING
        with pytest.raises(InvalidArguments):
            sup.when_gone(reply, timeout=-1)

    with_sup(test)


def test_a_cancel_that_came_before_its_job_is_on_the_list() -> None:
    async def test(sup: Supervisor) -> None:
        now = sup._engine.wall()
        before = sup.head_seq
        reply = await sup.cancel("later", reason="why", if_unknown="remember", requester="me")
        assert reply == CancelReply(outcome=CancelOutcome.RECORDED, job_id="later", seq=before)
        (tombstone,) = sup.tombstones()
        assert (tombstone.job_id, tombstone.reason, tombstone.requester) == ("later", "why", "me")
        assert (tombstone.recorded_at, tombstone.expires_at) == (when(now), when(now + 600))
        (default,) = [await sup.cancel("other", if_unknown="remember")]
        assert default.outcome is CancelOutcome.RECORDED
        assert [each.requester for each in sup.tombstones()] == ["me", "local"]

    with_sup(test)


# --- cancelling many ------------------------------------------------------------------------------


def test_the_answers_of_a_bulk_cancel_are_a_sequence() -> None:
    async def test(sup: Supervisor) -> None:
        for job_id in ("a", "b"):
            await sup.start(Script(), job_id=job_id)
        replies = await sup.cancel_many(JobFilter(job_ids=("a", "x", "b")))
        assert len(replies) == 3
        assert [type(reply) for reply in replies] == [CancelReply, JobNotFound, CancelReply]
        rest = replies[1:]
        assert len(rest) == 2
        assert isinstance(rest[0], JobNotFound)
        assert rest[1] == replies[2] == replies[-1]
        assert job_of(rest[1]).id == "b"
        assert [each.job_id for each in replies[::2] if isinstance(each, CancelReply)] == ["a", "b"]

    with_sup(test)


def test_cancelling_many_lets_others_run_after_every_hundred() -> None:
    async def test(sup: Supervisor) -> None:
        scripts = await start_scripts(sup, 2 * CHUNK + 50)
        seen = await steps_of(
            lambda: sup.cancel_many(JobFilter()),
            lambda: sum(script.signals == ["TERM"] for script in scripts),
        )
        assert seen == [0, 100, 200]
        assert [script.signals for script in scripts] == [["TERM"]] * 250

    with_sup(test)


def test_a_bulk_cancel_that_is_cancelled_on_the_way_asks_them_all() -> None:
    async def test(sup: Supervisor) -> None:
        scripts = await start_scripts(sup, 2 * CHUNK + 50)

        with trio.CancelScope() as scope:

            def cancel_once() -> int:
                if scripts[0].signals:
                    scope.cancel()
                return 0

            await steps_of(lambda: sup.cancel_many(JobFilter()), cancel_once)
        assert scope.cancel_called
        assert [script.signals for script in scripts] == [["TERM"]] * 250

    with_sup(test)


def test_jobs_of_one_hundred_share_the_request_unless_their_graces_differ() -> None:
    async def test(sup: Supervisor) -> None:
        await start_scripts(sup, CHUNK + 50)
        list(sup.cancel_steps(JobFilter()))
        requests = requests_of(sup)
        assert {id(each) for each in requests[:CHUNK]} == {id(requests[0])}
        assert {id(each) for each in requests[CHUNK:]} == {id(requests[CHUNK])}
        assert requests[0] is not requests[CHUNK]

    with_sup(test)


def test_each_job_of_a_bulk_cancel_has_its_own_grace_unless_one_is_given() -> None:
    async def test(sup: Supervisor) -> None:
        for grace in (1.0, 2.0, 2.0):
            await sup.start(Script(obeys=False), grace=grace)
        await settle()
        list(sup.cancel_steps(JobFilter()))
        requests = requests_of(sup)
        assert [each.grace for each in requests] == [1.0, 2.0, 2.0]
        assert requests[1] is requests[2]
        assert [each.force for each in requests] == [False] * 3

    with_sup(test)


def test_a_grace_that_is_given_is_that_of_all_and_shared() -> None:
    async def test(sup: Supervisor) -> None:
        for grace in (1.0, 2.0):
            await sup.start(Script(obeys=False), grace=grace)
        await settle()
        list(sup.cancel_steps(JobFilter(), grace=5.0, reason="why"))
        first, second = requests_of(sup)
        assert first is second
        assert (first.grace, first.reason) == (5.0, "why")

    with_sup(test)


def test_only_a_grace_that_was_given_shortens_a_stop() -> None:
    async def test(sup: Supervisor) -> None:
        await sup.start(Script(obeys=False), job_id="a", grace=10)
        await settle()
        await sup.cancel("a", grace=60)
        (joined,) = await sup.cancel_many(JobFilter())
        (escalated,) = await sup.cancel_many(JobFilter(), grace=5)
        assert [each.outcome for each in (joined, escalated) if isinstance(each, CancelReply)] == [
            CancelOutcome.JOINED,
            CancelOutcome.ESCALATED,
        ]

    with_sup(test)


def test_a_bulk_cancel_answers_at_once_unless_it_is_to_wait() -> None:
    async def test(sup: Supervisor) -> None:
        await start_scripts(sup, 2)
        began = trio.current_time()
        asked = [each for each in sup.cancel_steps(JobFilter()) if each is not None]
        replies = await sup.cancelled(asked)
        assert trio.current_time() == began
        assert [job_of(reply).state for reply in replies] == [JobState.CANCELLING] * 2
        replies = await sup.cancelled(asked, wait="finished", timeout=3)
        assert trio.current_time() == began + 3
        replies = await sup.cancelled(asked, wait="finished")
        assert trio.current_time() == began + 10
        assert [job_of(reply).state for reply in replies] == [JobState.CANCELLED] * 2

    with_sup(test)


def test_a_bulk_cancel_of_jobs_that_leave_at_once_has_their_certificates() -> None:
    async def test(sup: Supervisor) -> None:
        for job_id in ("a", "b"):
            await sup.start(Script(), job_id=job_id)
        await settle()
        await sup.start(Body(), job_id="b", id_conflict_policy="replace")
        asked = [each for each in sup.cancel_steps(JobFilter()) if each is not None]
        asked_at = sup.head_seq
        await settle()
        replies = await sup.cancelled(asked, wait="finished")
        assert [each.successor_dropped for each in replies] == [False, True]  # type: ignore[union-attr]
        for reply, outcome in zip(replies, ("cancelling", "joined"), strict=True):
            assert isinstance(reply, CancelReply)
            assert (reply.outcome, reply.certificate is not None) == (outcome, True)
            assert job_of(reply).state is JobState.CANCELLED
            assert reply.seq <= asked_at < sup.head_seq

    with_sup(test)


def test_noting_who_is_gone_lets_others_run_for_every_hundred() -> None:
    async def test(sup: Supervisor) -> None:
        await sup.start_many([JobRequest(Script()) for _ in range(2 * CHUNK + 50)])
        await settle()
        asked = [each for each in sup.cancel_steps(JobFilter()) if each is not None]
        await settle()
        seen = await steps_of(lambda: sup.cancelled(asked, wait="finished"), lambda: 0)
        assert len(seen) == 3

    with_sup(test)


def test_a_caller_cancelled_while_it_notes_who_is_gone_still_has_the_answers() -> None:
    async def test(sup: Supervisor) -> None:
        for _ in range(3):
            await sup.start(Script())
        await settle()
        asked = [each for each in sup.cancel_steps(JobFilter()) if each is not None]
        await settle()
        with trio.CancelScope() as scope:
            scope.cancel()
            replies = await sup.cancelled(asked, wait="finished")
        assert not scope.cancelled_caught
        assert len(replies) == 3

    with_sup(test)


# --- looking ------------------------------------------------------------------------------------


def test_a_page_has_a_hundred_jobs_unless_told_otherwise() -> None:
    async def test(sup: Supervisor) -> None:
        await start_scripts(sup, 102)
        steps = sup.list_steps()
        while True:
            try:
                next(steps)
            except StopIteration as done:
                stepped = done.value
                break
        for page in (await sup.list(), sup.list_nowait(), stepped):
            assert len(page.jobs) == 100
            assert page.next_cursor is not None

    with_sup(test)


def test_a_page_has_a_thousand_lines_from_the_first_unless_told_otherwise() -> None:
    async def test(sup: Supervisor) -> None:
        script = Script()
        handle = await sup.start(script)
        await settle()
        for number in range(1, 1003):
            script.say(str(number))
        for page in (await sup.logs(handle.id), sup.logs_nowait(handle.id)):
            assert (len(page.entries), page.entries[0].n, page.next) == (1000, 1, 1000)

    with_sup(test)


def test_a_watch_of_another_history_is_refused_with_where_this_one_stands() -> None:
    async def test(sup: Supervisor) -> None:
        await sup.start(forever)
        with pytest.raises(ReplayGone) as caught:
            async with sup.watch(0, instance="other"):
                pass
        assert str(caught.value) == (
            f"position 0 counts in the history 'other'; this one is {sup.instance!r}: "
            "list again, and watch from there"
        )
        assert caught.value.data == {"instance": sup.instance, "head_seq": sup.head_seq}
        for options in (
            {"since": 0},
            {"since": 0, "instance": sup.instance},
            {"instance": "other"},
        ):
            async with sup.watch(**options) as watch:
                assert watch.instance == sup.instance
                assert watch.from_seq == options.get("since", sup.head_seq)

    with_sup(test)


# --- the end --------------------------------------------------------------------------------------


def test_a_shutdown_cancels_unless_it_is_to_drain() -> None:
    async def main() -> None:
        for at_once in (False, True):
            async with open_sup() as sup:
                handle = await sup.start(forever)
                await settle()
                if at_once:
                    sup.shutdown_nowait()
                else:
                    await sup.shutdown()
                await sup.drained.wait()
                assert handle.state is JobState.CANCELLED
                assert sup.stopping.is_set()

    run(main)


class Slow(MemoryStore):
    """Takes until the gate is open to keep anything."""

    synchronous: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.gate = trio.Event()
        self.gate.set()
        self.asked: list[int] = []

    async def saved(self, seq: int) -> None:
        self.asked.append(seq)
        await self.gate.wait()


def test_answers_wait_for_what_they_tell_of_to_be_kept_even_if_their_caller_is_cancelled() -> None:
    store = Slow()

    async def test(sup: Supervisor) -> None:
        await sup.start(Script(leaving=1.0), job_id="a")
        await settle()
        for ask in (
            lambda: sup.start(forever),
            lambda: sup.start_many([JobRequest(forever)]),
            lambda: sup.cancel("a"),
            lambda: sup.cancel_many(JobFilter(job_ids=("a",))),
        ):
            store.gate = trio.Event()
            store.asked.clear()
            answered = trio.Event()

            async def call(ask: Any = ask, answered: trio.Event = answered) -> None:
                await ask()
                answered.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(call)
                await settle()
                assert sup.head_seq in store.asked
                nursery.cancel_scope.cancel()
                await trio.lowlevel.cancel_shielded_checkpoint()
                assert not answered.is_set()
                store.gate.set()
            assert answered.is_set()

    with_sup(test, store=store)
