"""Jobs whose client is gone.

A session keeps a list of the jobs that it started and that care (`on_disconnect`). When it ends,
those with `cancel` are cancelled, and those with `linger` wait a while for the client to come back
with its resume token; then they are cancelled too, cause `client_gone`.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import TYPE_CHECKING

import trio

from .._errors import SupervisorError
from .._model import Cause, DisconnectPolicy, Job

if TYPE_CHECKING:
    from .._supervisor import Supervisor

__all__ = ["Lingering", "Owned", "new_secret"]

CHUNK = 50
"""How many jobs are cancelled between two checkpoints."""


def new_secret() -> str:
    """A resume token: 256 bits that nobody guesses."""
    return secrets.token_urlsafe(32)


class Owned:
    """The jobs that a session started and that do not simply go on without it.

    A job is known by its id and its time of creation: another one that takes over the id later is
    none of ours.
    """

    def __init__(self, sup: Supervisor) -> None:
        self._sup = sup
        self._jobs: dict[str, tuple[datetime, DisconnectPolicy]] = {}
        self._tidy_at = 1024
        self._heir: Owned | None = None
        self._left = False

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, job: Job) -> None:
        """Remember a job that this session has just started."""
        if job.on_disconnect is DisconnectPolicy.KEEP or job.state.is_final:
            return
        heir = self._living_heir()
        if heir is not None and job.on_disconnect is DisconnectPolicy.LINGER:
            heir.add(job)
            return
        self._jobs[job.id] = (job.created_at, job.on_disconnect)
        if len(self._jobs) >= self._tidy_at:
            self.tidy()

    def bequeath(self, heir: Owned) -> dict[str, datetime]:
        """Hand over the lingering jobs: those there are, and those that are yet to be added.

        A request that is under way may go on to start jobs until its session has ended.
        """
        self._heir = heir
        return self.take(DisconnectPolicy.LINGER)

    def leave(self) -> None:
        """Its session has ended: it can be nobody's heir any more."""
        self._left = True

    def _living_heir(self) -> Owned | None:
        heir = self._heir
        return None if heir is None or heir._left else heir

    def tidy(self) -> None:
        """Forget those that have ended."""
        for job_id in [*self._jobs]:
            if not _is_live(self._sup, job_id, self._jobs[job_id][0]):
                del self._jobs[job_id]
        self._tidy_at = max(1024, 2 * len(self._jobs))

    def take(self, policy: DisconnectPolicy) -> dict[str, datetime]:
        """Hand over the jobs with this policy."""
        taken = {key: when for key, (when, how) in self._jobs.items() if how is policy}
        for job_id in taken:
            del self._jobs[job_id]
        return taken

    def adopt(self, jobs: dict[str, datetime]) -> int:
        """Take over lingering jobs; how many of them are still alive."""
        alive = {key: when for key, when in jobs.items() if _is_live(self._sup, key, when)}
        self._jobs.update({key: (when, DisconnectPolicy.LINGER) for key, when in alive.items()})
        return len(alive)


def _is_live(sup: Supervisor, job_id: str, created_at: datetime) -> bool:
    try:
        job = sup.get_nowait(job_id)
    except SupervisorError:
        return False
    return job.created_at == created_at and not job.state.is_final


class _Leftover:
    def __init__(self, owner: str, tokens: tuple[str, ...], jobs: dict[str, datetime]) -> None:
        self.owner = owner
        self.tokens = tokens
        self.jobs = jobs
        self.resumed = trio.Event()


class Lingering:
    """The jobs of all sessions that have ended and may come back. `nursery` is the server's."""

    def __init__(self, sup: Supervisor, nursery: trio.Nursery, seconds: float) -> None:
        self._sup = sup
        self._nursery = nursery
        self._seconds = seconds
        self._leftovers: dict[str, _Leftover] = {}

    def __len__(self) -> int:
        return sum(len(left.jobs) for left in set(self._leftovers.values()))

    def leave(self, owner: str, tokens: tuple[str, ...], owned: Owned) -> None:
        """A session has ended."""
        owned.leave()
        if doomed := owned.take(DisconnectPolicy.CANCEL):
            self._nursery.start_soon(self._cancel, owner, doomed)
        if lingering := owned.take(DisconnectPolicy.LINGER):
            left = _Leftover(owner, tokens, lingering)
            self._leftovers.update(dict.fromkeys(tokens, left))
            self._nursery.start_soon(self._wait_for_return, left)

    def resume(self, owner: str, token: str) -> dict[str, datetime] | None:
        """The client with this resume token is back: its jobs, if there are any."""
        left = self._leftovers.get(token)
        if left is None or left.owner != owner:
            return None
        self._forget(left)
        left.resumed.set()
        return left.jobs

    def _forget(self, left: _Leftover) -> None:
        for token in left.tokens:
            self._leftovers.pop(token, None)

    def end(self) -> None:
        """The server is closed, all sessions have ended, and nobody can come back any more."""
        for left in set(self._leftovers.values()):
            left.resumed.set()

    async def _wait_for_return(self, left: _Leftover) -> None:
        with trio.move_on_after(self._seconds):
            await left.resumed.wait()
        if left.tokens[0] in self._leftovers:  # nobody took them
            self._forget(left)
            await self._cancel(left.owner, left.jobs)

    async def _cancel(self, owner: str, jobs: dict[str, datetime]) -> None:
        # Shielded: it needs no one else, and it must not be left half done.
        with trio.CancelScope(shield=True):
            for number, (job_id, created_at) in enumerate(jobs.items()):
                if number % CHUNK == 0:
                    await trio.lowlevel.checkpoint()
                if _is_live(self._sup, job_id, created_at):
                    self._sup.cancel_nowait(
                        job_id,
                        reason="the connection that started it is gone",
                        requester=owner,
                        cause=Cause.CLIENT_GONE,
                    )
