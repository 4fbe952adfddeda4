"""Typed uses of the public API; mypy reads this file, nothing runs it.

Each function is what a user would write. A type that changes here changes for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, assert_type

import trio

import supervisor
from supervisor import (
    CancelOutcome,
    CancelReply,
    Certificate,
    Command,
    Connected,
    Disconnected,
    EventsLost,
    Job,
    JobCancelled,
    JobFilter,
    JobPage,
    JobRequest,
    JobState,
    LogEntry,
    LogPage,
    LogsLagged,
    Registry,
    Statistics,
    SupervisorError,
    Token,
)
from supervisor.abc import JobControl, JobHandle, WatchItem

registry = Registry()


@registry.job
async def greet(name: str, times: int = 1) -> str:
    return name * times


@registry.job(name="other", grace=2.0, timeout=10.0)
async def renamed(path: str) -> None:
    supervisor.current_job().progress(1, 2, path)


async def decorated_functions_keep_their_type() -> None:
    assert_type(await greet("x", times=2), str)
    await greet("x", times="2")  # type: ignore[arg-type]
    await renamed("x")


async def starting(sup: JobControl) -> None:
    assert_type(await sup.start(greet, "x", 2, job_id="a", labels={"k": "v"}), JobHandle)
    assert_type(await sup.start("greet", args={"name": "x"}, timeout=1), JobHandle)
    assert_type(await sup.start(Command(["sh", "-c", "true"], cwd="/", env={"A": "b"})), JobHandle)
    await sup.start(len)  # type: ignore[arg-type]
    await sup.start(greet, "x", grace="soon")  # type: ignore[arg-type]
    requests = [JobRequest(greet, ("x",)), JobRequest("greet", args={"name": "x"})]
    for answer in await sup.start_many(requests):
        assert_type(answer, JobHandle | SupervisorError)


async def one_job(handle: JobHandle) -> None:
    assert_type(handle.id, str)
    assert_type(handle.created, bool)
    assert_type(handle.state, JobState)
    assert_type(handle.record, Job)
    assert_type(await handle.wait(timeout=1.5), Job)
    assert_type(await handle.result(), Any)
    assert_type(await handle.cancel(reason="enough", grace=1, wait="finished"), CancelReply)
    await handle.cancel("enough")  # type: ignore[call-arg]


def a_record(job: Job) -> None:
    assert_type(job.state.is_final, bool)
    assert_type(job.labels, Mapping[str, str])
    assert_type(job.exit_code, int | None)
    assert_type(job.certificate, Certificate | None)
    job.state = JobState.FAILED  # type: ignore[misc]


async def cancelling(sup: JobControl) -> None:
    reply = await sup.cancel("a", force=True, wait="finished", timeout=3, if_unknown="remember")
    assert_type(reply.outcome, CancelOutcome)
    if reply.certificate is not None:
        assert_type(reply.certificate.request_to_dead, float)
        assert_type(reply.certificate.first_request.reason, str | None)
    some = JobFilter(state=(JobState.RUNNING,), labels={"k": "v"})
    assert_type(await sup.cancel_many(some), Sequence[CancelReply | SupervisorError])


async def looking(sup: JobControl) -> None:
    assert_type(await sup.get("a"), Job)
    page = await sup.list(JobFilter(name="greet"), limit=10, cursor=None)
    assert_type(page, JobPage)
    assert_type([job.id for job in page], list[str])
    assert_type(await sup.wait("a", 1.0), Job)
    assert_type(await sup.logs("a", since=5), LogPage)
    assert_type(await sup.statistics(), Statistics)
    async with sup.watch(since=0, logs=True) as events:
        async for item in events:
            assert_type(item, WatchItem)
            if isinstance(item, supervisor.JobEvent):
                assert_type(item.state, JobState)


async def in_process() -> None:
    async with supervisor.open_supervisor(registry, slots=4) as sup:
        control: JobControl = sup
        await starting(control)
        handle: JobHandle = await sup.start(greet, "x")
        await one_job(handle)
        await sup.shutdown("drain", grace=1.0)
        try:
            await sup.wait("a")
        except JobCancelled as exc:
            assert_type(exc.job, Job)


async def serving() -> None:
    token = Token("dashboard", "a-secret", scopes=["observe", "cancel"])
    async with supervisor.open_supervisor() as sup, trio.open_nursery() as nursery:
        serve = partial(supervisor.serve, sup, "127.0.0.1", 0, auth=token)
        address: supervisor.Address = await nursery.start(serve)
        assert_type(address.url, str)


async def following(sup: JobControl) -> None:
    async with sup.follow_logs("a", since=5) as lines:
        async for line in lines:
            assert_type(line, LogEntry | LogsLagged)


async def over_connections_that_break(url: str) -> None:
    def on_change(change: Connected | Disconnected) -> None:
        if isinstance(change, Connected):
            assert_type(change.outage, float | None)
        else:
            assert_type(change.reconnects, bool)

    async with supervisor.connect(
        url, reconnect_timeout=float("inf"), on_change=on_change
    ) as client:
        assert_type(client.instance, str)
        assert_type(client.resume_token, str)
        async with client.watch(since=0) as events:
            async for item in events:
                if isinstance(item, EventsLost):
                    assert_type(item.resumes_at, int)
        await following(client)


async def over_the_wire(url: str, token: str) -> None:
    async with supervisor.connect(url, token=token) as client:
        control: JobControl = client
        await starting(control)
        handle: JobHandle = await client.start("greet", args={"name": "x"})
        await one_job(handle)


async def the_body_of_a_job() -> None:
    job = supervisor.current_job()
    assert_type(job.id, str)
    assert_type(job.attempt, int)
    assert_type(job.cancel_requested, bool)
    assert_type(job.reason, str | None)
    job.log("half way")
    job.progress(1, total=2, message="half way")
