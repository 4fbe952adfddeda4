"""Starts, looks and waits."""

from __future__ import annotations

from typing import Any

import trio

from ..._errors import ConnectionLost, JobIdConflict, JobNotFound, ShuttingDown
from ..._model import JobState
from ...abc import JobHandle
from .asking import Asking
from .commands import Get, Start, Wait
from .invariants import broken
from .requests import Telling
from .works import AsyncWork, KillableWork, Work, YourWork

__all__ = ["Starting"]


class Starting(Asking):
    """Somebody starts a job, looks at it, or waits for its end."""

    async def start(self, command: Start, telling: Telling, process: str) -> None:
        """A start, and what must be so if it was the one that made the job."""
        job_id, work = command.job_id, self.work_for(command)
        before = self.link.store.get(job_id)
        buried = before is None and self._remembered.get(job_id, 0.0) > trio.current_time()
        asked = self._new_request(command, job_id, process)
        asked.work = self.ground.works.index(work)
        self._starting[job_id] += 1
        try:
            handle = await self.ask_to_start(command, work)
        except (JobIdConflict, ShuttingDown) as exc:
            self._answer(asked, type(exc).__name__)
            telling.answer = type(exc).__name__
            return
        except ConnectionLost:
            self._accepted[job_id] += 1  # perhaps
            self._unsure.add(job_id)
            raise
        finally:
            self._starting[job_id] -= 1
        self._answer(asked, "created" if handle.created else "existing")
        telling.answer = f"{'created' if handle.created else 'it exists'}, {handle.state}"
        if not handle.created:
            return
        self._accepted[job_id] += 1
        self._remembered.pop(job_id, None)
        self._latest[job_id] = work
        if process == "player":
            await self._check_begun(command, buried, before is not None and _is_live(before))

    async def _check_begun(self, command: Start, buried: bool, was_live: bool) -> None:
        """A remembered cancel is used up by the start, and has its way."""
        job_id = command.job_id
        if not self._others():
            self.check_used_up(job_id)
        job = await self.control.get(job_id)
        if buried and command.remembered == "cancel":
            if (job.state, job.how, job.attempt) != ("cancelled", "never_started", 1):
                broken("I9", f"a cancel was remembered, and the job is {job}")
            self.ground.won.add((job_id, 1))
        elif not was_live and job.state is JobState.CANCELLED and not job.cancel_requested:
            broken("I9", f"{job} was born cancelled without a reason")

    def work_for(self, command: Start) -> Work:
        """What this command runs."""
        known = self._latest.get(command.job_id)
        if command.work is not None:
            return self._your_work(command)
        if command.same and known is not None:
            return known
        make = KillableWork if command.manner.killable else AsyncWork
        return make(self.ground, command.manner)

    def _your_work(self, command: Start) -> Work:
        """The same function with the same arguments is the same work."""
        if command.work is None:
            raise TypeError("no work")
        for work in self.ground.works:
            if isinstance(work, YourWork) and work.is_for(command.work, command.arguments):
                return work
        return YourWork(self.ground, command.work, command.arguments)

    async def ask_to_start(self, command: Start, work: Work) -> JobHandle:
        """The start itself."""
        what, args = self.link.what(work)
        return await self.control.start(
            what,
            args=args,
            job_id=command.job_id,
            grace=4.0,
            notice=command.notice,
            timeout=command.timeout,
            on_disconnect=command.on_disconnect,
            id_conflict_policy=command.conflict,
            id_reuse_policy=command.reuse,
            if_remembered=command.remembered,
        )

    async def get(self, command: Get, telling: Telling, process: str) -> None:
        """A look at one job."""
        asked = self._new_request(command, command.job_id, process)
        try:
            job = await self.control.get(command.job_id)
        except JobNotFound:
            self._answer(asked, "JobNotFound")
            telling.answer = "nobody knows it"
            return
        self._answer(asked, (job.attempt, job.state))
        telling.answer = f"{job.state}, attempt {job.attempt}"

    async def wait(self, command: Wait, telling: Telling, process: str) -> None:
        """Somebody waits for the end."""
        asked = self._new_request(command, command.job_id, process)
        try:
            job = await self.control.wait(command.job_id)
        except (JobNotFound, ConnectionLost) as exc:
            self.refused(asked, telling, exc)
            return
        self._answer(asked, (job.attempt, job.state))
        telling.answer = f"{job.state}, attempt {job.attempt}"
        if not job.state.is_final:
            broken("I15", f"who waited for the end was told {job}")


def _is_live(stored: Any) -> bool:
    return not stored.record.state.is_final
