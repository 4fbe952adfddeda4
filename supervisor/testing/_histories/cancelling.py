"""Cancels, and what must be so once they were answered."""

from __future__ import annotations

import trio

from ..._errors import JobNotFound, Overloaded, SupervisorError
from ..._model import CancelOutcome, CancelReply, JobFilter, JobState
from .asking import REMEMBERED, Asking
from .commands import Cancel, CancelAll
from .invariants import broken, check_kill_is_due, check_repeat
from .links import TOMBSTONES
from .requests import Telling

__all__ = ["Cancelling"]


class Cancelling(Asking):
    """Somebody cancels a job, or all of them."""

    async def cancel(self, command: Cancel, telling: Telling, process: str) -> None:
        """A cancel that is answered at once, perhaps asked twice."""
        first = await self.cancel_once(command, telling, process)
        if first is None or not command.twice:
            return
        second = await self.cancel_once(command, telling, process)
        if second is not None:
            check_repeat(first, second)

    async def cancel_once(
        self, command: Cancel, telling: Telling, process: str
    ) -> CancelReply | None:
        """One cancel; None if there was no job, and no room to remember it."""
        asked = self._new_request(command, command.job_id, process)
        try:
            reply = await self._ask_to_cancel(command)
        except JobNotFound:
            if command.if_unknown != "error":
                broken("I13", f"{command.job_id} was to be remembered, and was called unknown")
            self._answer(asked, "JobNotFound")
            telling.answer = "nobody knows it"
            return None
        except Overloaded:
            self.check_full(command)
            self._answer(asked, "Overloaded")
            telling.answer = "too many are remembered"
            return None
        self._answer(asked, _said(reply))
        telling.answer = str(reply.outcome)
        if command.attempt is not None and reply.job is not None:
            stale = reply.job.attempt != command.attempt
            if stale != (reply.outcome is CancelOutcome.STALE_ATTEMPT):
                broken("I13", f"attempt {command.attempt} was meant: {reply}")
        check_kill_is_due(reply, command.grace, command.force)
        self.note(reply)
        return reply

    async def _ask_to_cancel(self, command: Cancel) -> CancelReply:
        return await self.control.cancel(
            command.job_id,
            grace=command.grace,
            force=command.force,
            attempt=command.attempt,
            if_unknown=command.if_unknown,
            wait="finished" if command.wait else "accepted",
        )

    def check_full(self, command: Cancel) -> None:
        """There was no room to remember this cancel."""
        now = trio.current_time()
        living = [job_id for job_id, expires in self._remembered.items() if expires > now]
        if len(living) < TOMBSTONES and not self._others():
            broken("I9", f"{living} are remembered, and there was no room for more")

    def note(self, reply: CancelReply) -> None:
        """What a cancel did must be so, now and later."""
        if reply.outcome is CancelOutcome.RECORDED:
            self._remembered[reply.job_id] = trio.current_time() + REMEMBERED
            return
        job = reply.job
        if job is None:
            broken("I13", f"{reply} is about no job")
        attempt = (reply.job_id, job.attempt)
        begun = reply.outcome in ("cancelled", "cancelling")
        if begun and not self.ground.entered[attempt] and job.started_at is None:
            self.ground.won.add(attempt)
        if reply.outcome is CancelOutcome.CANCELLED:
            if job.state not in ("cancelled", "timed_out") or reply.certificate is None:
                broken("I13", f"cancelled, it says, and the job is {job}")
        elif reply.outcome in ("already_cancelled", "already_finished") and (
            not job.state.is_final
        ):
            broken("I13", f"{reply.outcome}, it says, and the job is {job}")

    async def cancel_and_wait(self, command: Cancel, telling: Telling, process: str) -> None:
        """A cancel that is answered when the job is gone."""
        asked = self._new_request(command, command.job_id, process)
        self._waiting[command.job_id] += 1
        try:
            reply = await self._ask_to_cancel(command)
        except SupervisorError as exc:
            self.refused(asked, telling, exc)
        else:
            self._answer(asked, _said(reply))
            telling.answer = str(reply.outcome)
            self._check_waited(reply)
        finally:
            self._waiting[command.job_id] -= 1

    def _check_waited(self, reply: CancelReply) -> None:
        if reply.outcome is CancelOutcome.RECORDED:
            self._remembered.setdefault(reply.job_id, trio.current_time() + REMEMBERED)
        elif reply.outcome is not CancelOutcome.STALE_ATTEMPT:
            job = reply.job
            if job is None or not (job.state.is_final or job.state is JobState.STUCK):
                broken("I15", f"who waited for the end was told {job}")

    async def cancel_all(self, grace: float | None, telling: Telling) -> None:
        """One cancel of all live jobs."""
        asked = {each: self._new_request(CancelAll(grace), each) for each in self.job_ids}
        replies = await self.control.cancel_many(JobFilter(), grace=grace)
        outcomes = []
        for reply in replies:
            if not isinstance(reply, CancelReply):
                broken("I13", f"a job that was live was refused: {reply!r}")
            check_kill_is_due(reply, grace, force=False)
            self.note(reply)
            outcomes.append(f"{reply.job_id}: {reply.outcome}")
            if reply.job_id in asked:
                self._answer(asked.pop(reply.job_id), _said(reply))
        for left in asked.values():
            self._answer(left, "not live")
        telling.answer = ", ".join(outcomes) or "there was none"


def _said(reply: CancelReply) -> tuple[str, int | None]:
    return str(reply.outcome), None if reply.job is None else reply.job.attempt
