"""The demo from its first job to its last look."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Literal

import attrs
import trio

from .._client.client import Client
from .._client.connect import connect
from .._model import Job, JobEvent, JobFilter, JobRequest, JobState
from .._server import Token, serve
from ..abc import JobHandle, JobWatch
from .demo_jobs import MANY, Case, cases, many, new_marker, registry
from .demo_progress import Progress, open_progress
from .ids import all_jobs
from .output import print_document, print_table, print_text, say
from .serving import ServedSupervisor
from .signals import leave_now
from .survivors import Seen, processes_with
from .text import milliseconds, one_line, own_places, proof_of, strength_of

__all__ = ["run_demo"]

SECONDS = 15.0
"""What each stage may take before the demo gives up on it."""

MANY_FILTER = JobFilter(labels={"demo": "many"})
REASON = "the demo cancels it"


@attrs.frozen
class Row:
    """A line of the table, and whether it is as it should be."""

    cells: tuple[str, ...]
    document: Mapping[str, Any]
    ok: bool


async def run_demo(
    as_json: bool = False, containment: Literal["auto", "process_group"] = "auto"
) -> int:
    """Run the demo and return the code to exit with."""
    marker = new_marker()
    token = Token("demo", secrets.token_urlsafe(32))
    sup = ServedSupervisor(registry(), containment=containment)
    async with sup.open(), trio.open_nursery() as channel:
        address = await channel.start(partial(serve, sup, "127.0.0.1", 0, auth=token))
        say(f"a server at {address.url}, with a token; a client connects to it")
        async with connect(address.url, token=token.secret) as client:
            with trio.move_on_after(4 * SECONDS) as patience:
                code = await Demo(sup, client, marker, as_json).run()
            if patience.cancelled_caught:
                say(f"the demo did not get through within {4 * SECONDS:g} s")
                code = 1
        await _close(sup)
    return code


async def _close(sup: ServedSupervisor) -> None:
    sup.shutdown_nowait("cancel", grace=0)
    with trio.move_on_after(SECONDS):
        await sup.drained.wait()
        return
    for job in sup.live_jobs():
        say(f"does not end: job {job.id}, {job.state}: {'; '.join(own_places(job.where))}")
    leave_now(1)


class Demo:
    """One run of it. `sup` is asked only how commands are contained; the rest is the client's."""

    def __init__(
        self, sup: ServedSupervisor, client: Client, marker: str, as_json: bool
    ) -> None:
        self._sup = sup
        self._client = client
        self._marker = marker
        self._as_json = as_json
        self._cases: Sequence[Case] = ()
        self._blind = False

    async def run(self) -> int:
        await self._client.cancel("early", if_unknown="remember", reason="before it started")
        say("a cancel is on record for job early, which nobody has started yet")
        await self._choose()
        await self._start()
        await self._see_them_alive()
        await self._cancel()
        rows = await self._rows()
        return self._report(rows)

    async def _choose(self) -> None:
        """Which jobs this machine can be trusted with; a first command shows it."""
        first = next(cases(self._marker, setsid=False, cleared=False, can_setsid=None))
        await (await _start_one(self._client, first.request)).wait(SECONDS)
        why_not = self._sup.why_not_cgroup2
        can_look = Path("/proc/self/environ").exists()
        if why_not is not None:
            say(f"left out: {_left_out(can_look)}; without cgroups nothing is certain to find them "
                f"({one_line(why_not)})")  # fmt: skip
        found = cases(
            self._marker,
            setsid=why_not is None or can_look,
            cleared=why_not is None,
            can_setsid=shutil.which("setsid"),
        )
        self._cases = tuple(found)

    async def _start(self) -> None:
        for case in self._cases:
            await _start_one(self._client, case.request)
        started = await self._client.start_many(many())
        failed = [answer for answer in started if isinstance(answer, Exception)]
        if failed:
            raise failed[0]
        for case in self._cases:
            if not case.cancel:
                await self._client.wait(case.request.job_id or "", SECONDS)

    async def _see_them_alive(self) -> None:
        """Look before the cancel too: a look that finds nothing then would prove nothing later."""
        expected = sum(case.processes for case in self._cases)
        seen: list[Seen] = []
        with trio.move_on_after(SECONDS):
            # Nobody tells when a daemon has come up: this is the look from outside.
            while len(seen) < expected:
                await trio.sleep(0.02)
                seen = await trio.to_thread.run_sync(processes_with, self._marker)
        say(f"{len(self._cases) + MANY} jobs, and {len(seen)} processes that carry {self._marker}")
        self._blind = len(seen) < expected
        if self._blind:
            say(f"{expected} of them should be alive now: what the look finds later proves nothing")

    # --- the cancels -----------------------------------------------------------------------------

    async def _cancel(self) -> None:
        ids = [case.request.job_id for case in self._cases if case.cancel and not case.before]
        total = len(ids) + MANY
        title = f"cancelling {total} jobs over the websocket"
        async with self._client.watch() as events:
            with open_progress(title, total) as progress:
                await self._cancel_and_wait([job_id for job_id in ids if job_id], events, progress)
                progress.complete()

    async def _cancel_and_wait(
        self, ids: Sequence[str], events: JobWatch, progress: Progress
    ) -> None:
        async with trio.open_nursery() as counting:
            counting.start_soon(_count, events, progress)
            async with trio.open_nursery() as nursery:
                for job_id in ids:
                    nursery.start_soon(self._cancel_one, job_id)
                await self._client.cancel_many(
                    MANY_FILTER, reason=REASON, wait="finished", timeout=SECONDS
                )
            counting.cancel_scope.cancel("all of them have answered")

    async def _cancel_one(self, job_id: str) -> None:
        await self._client.cancel(job_id, reason=REASON, wait="finished", timeout=SECONDS)

    # --- what came of it -------------------------------------------------------------------------

    async def _rows(self) -> list[Row]:
        rows = []
        for case in self._cases:
            rows.append(_row(case, await self._client.get(case.request.job_id or "")))
        jobs = [job async for job in all_jobs(self._client, MANY_FILTER)]
        rows.insert(2, _row_of_many(jobs))
        return rows

    def _report(self, rows: Sequence[Row]) -> int:
        survivors = processes_with(self._marker)
        wrong = sum(not row.ok for row in rows)
        if self._as_json:
            jobs = [{**row.document, "ok": row.ok} for row in rows]
            left = [attrs.asdict(seen) for seen in survivors]
            print_document({"jobs": jobs, "survivors": left})
        else:
            cells = [row.cells for row in rows]
            print_table(COLUMNS, cells, shorten={"PROOF": strength_of})
            for seen in survivors:
                print_text(f"alive: pid {seen.pid}: {one_line(seen.command)}")
            if wrong:
                print_text(f"jobs that ended otherwise than they should: {wrong}")
            print_text(f"survivors, by a look at all processes: {len(survivors)}")
        return 1 if survivors or wrong or self._blind else 0


def _left_out(can_look: bool) -> str:
    if can_look:
        return "daemons that clear their environment and close their output"
    return "commands that leave their session, daemons among them"


async def _start_one(client: Client, request: JobRequest) -> JobHandle:
    return await client.start(
        request.work, job_id=request.job_id, name=request.name, grace=request.grace
    )


async def _count(events: JobWatch, progress: Progress) -> None:
    async for event in events:
        if isinstance(event, JobEvent) and event.type == "job.finished":
            progress.advance()


# --- the table -----------------------------------------------------------------------------------

COLUMNS = ("JOB", "STATE", "HOW", "DEAD AFTER", "PROOF")


def _row(case: Case, job: Job) -> Row:
    ok = job.state is case.state and job.how in case.how
    how = str(job.how or "") + ("" if ok else f" (expected {case.state}, {'/'.join(case.how)})")
    dead = proof = ""
    document: dict[str, Any] = {"job": case.title, "state": job.state, "how": job.how}
    if job.certificate is not None:
        dead, proof = milliseconds(job.certificate.request_to_dead), proof_of(job.certificate)
        document |= {"request_to_dead": job.certificate.request_to_dead, "proof": proof}
    return Row((case.title, str(job.state), how, dead, proof), document, ok)


def _row_of_many(jobs: Sequence[Job]) -> Row:
    """One line for the thousand; the slowest speaks for all."""
    title = f"{MANY:,} async jobs"
    gone = [job.certificate for job in jobs if job.state is JobState.CANCELLED]
    certificates = [certificate for certificate in gone if certificate is not None]
    if len(certificates) != MANY:
        text = f"{len(certificates)} of them cancelled"
        return Row((title, text, "", "", ""), {"job": title, "state": text}, False)
    times = [certificate.request_to_dead for certificate in certificates]
    how = "/".join(sorted({str(certificate.how) for certificate in certificates}))
    proof = "/".join(sorted({proof_of(certificate) for certificate in certificates}))
    document: dict[str, Any] = {"job": title, "state": "cancelled", "how": how}
    document |= {"request_to_dead": max(times), "proof": proof}
    document["median_request_to_dead"] = median(times)
    return Row((title, "cancelled", how, milliseconds(max(times)), proof), document, True)
