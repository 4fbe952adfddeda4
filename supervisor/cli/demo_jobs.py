"""The jobs of the demo, and what each has to come to.

Every process of theirs carries the same unique number in its command line, as an argument of `sh`
or as the seconds of a `sleep`.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator

import attrs
import trio

from .._context import current_job
from .._model import Command, How, JobRequest, JobState
from .._registry import Registry

__all__ = ["Case", "cases", "many", "new_marker", "registry"]

MANY = 1000


# --- async jobs ----------------------------------------------------------------------------------


async def idle() -> None:
    """Wait for ever, as a coroutine that has nothing to do."""
    await trio.sleep_forever()


async def tidy(files: int = 3) -> None:
    """Wait for ever, and tidy up when asked to leave."""
    try:
        await trio.sleep_forever()
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
            for number in range(files):
                await trio.sleep(0.02)
                current_job().log(f"tidied up {number + 1} of {files}")


def registry() -> Registry:
    """The jobs that can be started by name."""
    jobs = Registry()
    jobs.job(idle)
    jobs.job(tidy)
    return jobs


# --- commands ------------------------------------------------------------------------------------

# $1 is the number that marks the demo's processes; a `sleep` of so many seconds is a process that
# does nothing, and carries it.
TREE = 'sh -c "sleep $1 & sleep $1; :" child $1 & sleep $1; :'
STUBBORN = 'trap "" TERM; echo "SIGTERM? No."; while :; do sleep $1; done'
SESSION = "{setsid} sleep $1 & sleep $1; :"
# The middle one ends at once: its child is nobody's.
DAEMON = '({setsid} sh -c "sleep $1 >/dev/null 2>&1 & :" middle $1 &); sleep $1; :'
CLEARED = (
    '({setsid} env -i PATH="$PATH" sh -c "sleep $1 >/dev/null 2>&1 </dev/null & :" middle $1 &); '
    "sleep $1; :"
)
ALL = f"{TREE.removesuffix('; :')} & {CLEARED.removesuffix('; sleep $1; :')}; {STUBBORN}"

SETSID = "import os, sys; os.setsid(); os.execvp(sys.argv[1], sys.argv[1:])"


@attrs.frozen(kw_only=True)
class Case:
    """A job and its expected end.

    Args:
        title: what the table calls it.
        request: the job.
        state: how it has to end.
        how: likewise; several may do.
        processes: how many it has to be seen with, at least, before it is cancelled.
        cancel: whether the demo cancels it.
        before: whether the cancel precedes the start.
    """

    title: str
    request: JobRequest
    state: JobState = JobState.CANCELLED
    how: tuple[How, ...] = (How.COOPERATIVE,)
    processes: int = 0
    cancel: bool = True
    before: bool = False


def new_marker() -> str:
    """A number that no other process has in its command line, and that `sleep` takes."""
    return str(1_000_000_000 + secrets.randbelow(1_000_000_000))


def cases(marker: str, *, setsid: bool, cleared: bool, can_setsid: str | None) -> Iterator[Case]:
    """The jobs to run.

    Args:
        marker: what marks their processes.
        setsid: include what leaves its session.
        cleared: include what also clears its environment and closes its output.
        can_setsid: the program that starts another one in a session of its own; None if there
            is none (then Python does it).
    """
    yield Case(title="ends by itself", request=_sh("ends", "echo done", marker),
               state=JobState.SUCCEEDED, how=(How.EXITED,), cancel=False)  # fmt: skip
    yield Case(title="fails (exit 3)", request=_sh("fails", "exit 3", marker),
               state=JobState.FAILED, how=(How.EXITED,), cancel=False)  # fmt: skip
    yield Case(title="async, tidies up", request=JobRequest("tidy", job_id="tidy"))
    yield Case(title="sh, grandchildren", processes=5, request=_sh("tree", TREE, marker))
    yield Case(title="ignores SIGTERM", processes=2, how=(How.FORCED,),
               request=_sh("stubborn", STUBBORN, marker, grace=0.3))  # fmt: skip
    words = can_setsid or f"{sys.executable} -c '{SETSID}'"
    if setsid:
        yield Case(title="sh, setsid child", processes=3,
                   request=_sh("session", SESSION.format(setsid=words), marker))  # fmt: skip
        yield Case(title="sh, daemon", processes=3,
                   request=_sh("daemon", DAEMON.format(setsid=words), marker))  # fmt: skip
    if cleared:
        yield Case(title="traceless daemon", processes=3,
                   request=_sh("cleared", CLEARED.format(setsid=words), marker))  # fmt: skip
        yield Case(title="all of these", processes=7, how=(How.FORCED,),
                   request=_sh("all", ALL.format(setsid=words), marker, grace=0.3))  # fmt: skip
    yield Case(title="cancelled early", request=_sh("early", "sleep $1; :", marker),
               how=(How.NEVER_STARTED,), before=True)  # fmt: skip


def many() -> list[JobRequest]:
    """A thousand of one kind."""
    return [JobRequest("idle", job_id=f"idle-{n}", labels={"demo": "many"}) for n in range(MANY)]


def _sh(job_id: str, script: str, marker: str, *, grace: float | None = None) -> JobRequest:
    # $0 is what a shell calls itself in its messages.
    work = Command(["sh", "-c", script, f"demo-{job_id}", marker])
    return JobRequest(work, job_id=job_id, name=job_id, grace=grace)
