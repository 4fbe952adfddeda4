"""`shutdown`: end all jobs, then the server; until it has left, show what holds it up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .._model import JobEvent, JobFilter, JobState
from .connection import Target, Where, connected, require_target, where_options
from .exits import CliError, Exit, usage_error
from .output import print_document, say
from .text import count_of, one_line, own_places
from .verbs import json_option

if TYPE_CHECKING:
    from .._client.client import Client

__all__ = ["command"]

FAREWELL = (
    "if the server has been asked, it goes on to end its jobs, and leaves; trio-supervisor list "
    "shows what still runs"
)
"""For whoever leaves early: perhaps before the question was on its way."""

LIVE = tuple(state for state in JobState if not state.is_final)


@click.command("shutdown")
@click.option("--cancel", is_flag=True, help="Cancel what runs (default).")
@click.option("--drain", is_flag=True, help="Let what runs end by itself.")
@click.option("--grace", type=click.FloatRange(min=0), metavar="S", help="At most so long a grace.")
@click.option("--wait/--no-wait", default=True, help="Until it has left (default), or only ask.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="Wait so long at most.")
@where_options
@json_option
def command(
    cancel: bool, drain: bool, grace: float | None, wait: bool, timeout: float | None,
    url: str | None, token_file: Path | None, as_json: bool,
) -> int:  # fmt: skip
    """End all jobs, then the server.

    It takes no new jobs from now on.

    Waits until it has left, and on a terminal shows what still runs; jobs that are stuck are named
    wherever you are. Exits 0 once it has left, 5 if it had not after --timeout. Ctrl+C only ends
    the waiting.

    \b
      trio-supervisor shutdown --drain --timeout 60
    """
    import trio

    from .signals import until_stopped

    if cancel and drain:
        raise usage_error("give either --cancel or --drain, not both")
    target = require_target(Where(url=url, token_file=token_file))
    mode = "drain" if drain else "cancel"

    async def end() -> int:
        if wait:
            with trio.move_on_after(float("inf") if timeout is None else timeout):
                await _end_and_wait(target, mode, grace)
                _tell(as_json, "the server has left")
                return 0
            raise CliError(f"the server has not left after {timeout or 0:g} s", Exit.TOO_SLOW)
        async with connected(target, reconnect_timeout=0) as client:
            await client.shutdown(mode, grace=grace)
        jobs = "ends its jobs" if mode == "cancel" else "waits for its jobs"
        _tell(as_json, f"the server takes no new jobs, {jobs}, and leaves")
        return 0

    return trio.run(until_stopped, end, lambda: FAREWELL)


def _tell(as_json: bool, words: str) -> None:
    if as_json:
        print_document({"ok": True})
    else:
        say(words)


# --- until it has left ---------------------------------------------------------------------------


async def _end_and_wait(target: Target, mode: str, grace: float | None) -> None:
    from .link import wait_until_dead

    leaving = _Leaving(mode, grace)
    while await leaving.is_there(target):
        if target.endpoint_file is not None:
            # Its file tells more than its port, which may be another's by now.
            await wait_until_dead(target.endpoint_file)
            return


class _Leaving:
    """A server that is asked to leave, and what it still has to do.

    Attributes:
        live: the jobs that have not ended, with their states.
    """

    def __init__(self, mode: str, grace: float | None) -> None:
        self._mode = mode
        self._grace = grace
        self._asked = False
        self._named: set[str] = set()
        self.live: dict[str, str] = {}

    async def is_there(self, target: Target) -> bool:
        """Ask it and watch until the connection ends; False if there was none to be had any more.

        Raises:
            SupervisorError: it was not asked yet, and cannot be, or refuses.
        """
        from .._errors import ConnectionLost
        from .exits import single
        from .progress import open_line

        there = False
        try:
            async with connected(target, reconnect_timeout=0) as client:
                there = True
                with open_line(self.tell):
                    await self._ask_and_watch(client)
        except (ConnectionLost, ExceptionGroup) as exc:
            if not (self._asked and isinstance(single(exc), ConnectionLost)):
                raise
        return there

    async def _ask_and_watch(self, client: Client) -> None:
        from .ids import all_jobs

        async with client.watch() as events:
            await client.shutdown(self._mode, grace=self._grace)
            self._asked = True
            async for job in all_jobs(client, JobFilter(state=LIVE)):
                self.live[job.id] = str(job.state)
                self._name_stuck(job.id, job.state, job.why, job.where)
            async for event in events:
                if isinstance(event, JobEvent):
                    self._take(event)

    def _take(self, event: JobEvent) -> None:
        if event.state.is_final:
            self.live.pop(event.job_id, None)
            return
        self.live[event.job_id] = str(event.data.get("rung") or event.state)
        data = event.data
        self._name_stuck(event.job_id, event.state, data.get("why"), data.get("where", ()))

    def _name_stuck(
        self, job_id: str, state: JobState, why: str | None, where: Sequence[str]
    ) -> None:
        if state is JobState.STUCK and job_id not in self._named:
            self._named.add(job_id)
            places = "; ".join(own_places(where)) or "it is not known where"
            say(one_line(f"job {job_id} is stuck: {why}: {places}", 1000))

    def tell(self) -> str:
        """What still runs, in a line."""
        from .progress import still

        live = [*self.live.items()]
        if not live:
            return "the server leaves"
        jobs = still(f"{job_id} ({state})" for job_id, state in live)
        return f"{count_of(len(live), 'job')} left: {jobs}"
