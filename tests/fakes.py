"""Fakes and builders that the tests of the core share.

`run` runs an async function under the plainest schedule of the race kit: the clock jumps when
nothing else can happen, and a hang, shielded or not, is an error that says who waits where.
`FakeLauncher` runs a `Script`: work that can be killed, of which the test decides what it does, and
knows whether it is alive.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import Any, ClassVar

import trio
import trio.testing

from supervisor._lifecycle import Cancel, Escalate, Join
from supervisor._model import Cause, DisconnectPolicy, JobErrorInfo, Proof
from supervisor._records import Exit, Exited, Instant, JobSpec, NeverStarted, Raised, Request
from supervisor._registry import Registry
from supervisor._supervisor import Supervisor
from supervisor.abc import JobSink, Launcher, RunningJob, Store
from supervisor.launchers.function import FunctionLauncher
from supervisor.stores.memory import MemoryStore
from supervisor.testing import Schedule

EPOCH = 1_700_000_000.0
"""The wall clock of a test starts here, and goes on with Trio's."""

STEPS = 1_000_000
"""A test of more steps than this goes round in circles."""

PROOF = Proof("fake_gone")


# --- running ----------------------------------------------------------------------------------


def run(async_fn: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """One deterministic run, on a clock that jumps to the next deadline whenever all tasks wait."""
    RESISTING.clear()
    return Schedule().run(async_fn, *args, max_steps=STEPS)


async def settle() -> None:
    """Return once every other task waits for something."""
    await trio.testing.wait_all_tasks_blocked()


RESISTING: list[Script | Body] = []
"""Everything that may refuse to leave: a block that fails must not hang on it."""


@asynccontextmanager
async def open_sup(
    *,
    slots: int | None = None,
    registry: Registry | None = None,
    store: Store | None = None,
    launchers: Sequence[Launcher] | None = None,
) -> AsyncIterator[Supervisor]:
    """A supervisor of async functions and fakes, whose wall clock goes on with Trio's."""
    began = trio.current_time()
    sup = Supervisor(
        registry=Registry() if registry is None else registry,
        store=MemoryStore() if store is None else store,
        launchers=(FunctionLauncher(), FakeLauncher()) if launchers is None else launchers,
        slots=slots,
        wall=lambda: EPOCH + trio.current_time() - began,
    )
    async with sup.open():
        try:
            yield sup
        except Exception:
            for each in RESISTING:
                each.yield_now()
            raise


# --- work that can be killed ------------------------------------------------------------------


class Script:
    """What a fake job does, and what became of it.

    Args:
        obeys: whether it leaves when it is asked to (`cancel`).
        dies: whether it leaves when it is killed.
        leaving: seconds between being asked to leave and leaving.
        spawn: seconds until it exists; a spawn in flight cannot be recalled.
        enters: whether a spawn that comes through after a stop began still tells that it started.
        spawn_error: why it cannot be started, if it cannot.
        crash: what the launcher itself raises, if it has a bug.
    """

    def __init__(
        self,
        *,
        obeys: bool = True,
        dies: bool = True,
        leaving: float = 0.0,
        spawn: float = 0.0,
        enters: bool = False,
        spawn_error: str | None = None,
        crash: Exception | None = None,
    ) -> None:
        self.obeys = obeys
        self.dies = dies
        self.leaving = leaving
        self.spawn = spawn
        self.enters = enters
        self.spawn_error = spawn_error
        self.crash = crash
        self.alive = 0
        self.entered = 0
        self.signals: list[str] = []
        self.runs: list[_RunningFake] = []
        RESISTING.append(self)

    def yield_now(self) -> None:
        self.obeys = self.dies = True
        for running in self.runs:
            running.leave(signal=9)

    def __repr__(self) -> str:
        return f"<Script alive={self.alive} entered={self.entered} {' '.join(self.signals)}>"

    @property
    def latest(self) -> _RunningFake:
        return self.runs[-1]

    def finish(self, code: int = 0) -> None:
        """It exits by itself."""
        self.latest.leave(code=code)

    def die(self) -> None:
        """It goes at last, although it resisted."""
        self.latest.leave(signal=9)

    def say(self, text: str, stream: str = "stdout") -> None:
        """It writes a line."""
        self.latest.sink.log_line(stream, text)


class FakeLauncher(Launcher):
    """Runs scripts."""

    kind: ClassVar[str] = "fake"
    can_force: ClassVar[bool] = True

    def __init__(self) -> None:
        self.is_open = False

    def accepts(self, work: object) -> bool:
        return isinstance(work, Script)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        self.is_open = True
        yield
        self.is_open = False

    def prepare(self, spec: JobSpec, attempt: int, sink: JobSink) -> RunningJob:
        running = _RunningFake(spec.work, sink)
        spec.work.runs.append(running)
        return running


class _RunningFake(RunningJob):
    exception: BaseException | None = None

    def __init__(self, script: Script, sink: JobSink) -> None:
        self.script = script
        self.sink = sink
        self.asked: str | None = None
        self.is_alive = False
        self._exit: Exit | None = None
        self._over = trio.Event()
        self._leave_at = trio.Event()

    def leave(self, *, code: int | None = None, signal: int | None = None) -> None:
        if self._exit is None:
            self._exit = Exited(code, signal, PROOF)
            self._over.set()

    async def run(self) -> Exit:
        script = self.script
        if script.crash is not None:
            raise script.crash
        if self.asked is not None:
            return NeverStarted(None, PROOF)
        if script.spawn:
            await trio.sleep(script.spawn)
        if script.spawn_error is not None:
            return NeverStarted(JobErrorInfo(type="OSError", message=script.spawn_error), PROOF)
        if self.asked is not None and not script.enters:
            return NeverStarted(None, PROOF)
        return await self._live()

    async def _live(self) -> Exit:
        script = self.script
        self.is_alive = True
        script.alive += 1
        script.entered += 1
        try:
            self.sink.started()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._leave_slowly)
                await self._over.wait()
                nursery.cancel_scope.cancel()
        finally:
            script.alive -= 1
            self.is_alive = False
        assert self._exit is not None
        return self._exit

    async def _leave_slowly(self) -> None:
        await self._leave_at.wait()
        await trio.sleep(self.script.leaving)
        self.leave(signal=15)

    def cancel(self, reason: str | None) -> None:
        if self.asked is None:
            self.asked = "cancel"
        self.script.signals.append("TERM")
        if self.script.obeys:
            if self.script.leaving:
                self._leave_at.set()
            else:
                self.leave(signal=15)

    def kill(self) -> None:
        self.asked = "kill"
        self.script.signals.append("KILL")
        if self.script.dies:
            self.leave(signal=9)

    def survivors(self) -> tuple[str, ...]:
        return ("pid 4242 sleeping",)


# --- bodies -----------------------------------------------------------------------------------


async def forever() -> None:
    """A body that leaves when it is cancelled."""
    await trio.sleep_forever()


class Body:
    """An async function that a test controls.

    Args:
        returns: what it returns when it is let go, or when it swallows the cancellation.
        raises: what it raises instead.
        swallows: whether it returns (or raises) instead of letting the cancellation through.
        shielded: whether the cancellation does not reach it.
    """

    def __init__(
        self,
        *,
        returns: Any = None,
        raises: BaseException | None = None,
        swallows: bool = False,
        shielded: bool = False,
    ) -> None:
        self.returns = returns
        self.raises = raises
        self.swallows = swallows
        self.shielded = shielded
        self.alive = 0
        self.entered = 0
        self._go = trio.Event()
        RESISTING.append(self)

    def yield_now(self) -> None:
        self._go.set()

    def release(self) -> None:
        """Let it end."""
        self._go.set()

    async def __call__(self) -> Any:
        self.alive += 1
        self.entered += 1
        swallowing = suppress(trio.Cancelled) if self.swallows else nullcontext()
        try:
            with swallowing, trio.CancelScope(shield=self.shielded):
                await self._go.wait()
        finally:
            self.alive -= 1
        if self.raises is not None:
            raise self.raises
        return self.returns


# --- records ----------------------------------------------------------------------------------


def at(mono: float) -> Instant:
    """A moment: `mono` on Trio's clock."""
    return Instant(mono, EPOCH + mono)


def make_spec(**changes: Any) -> JobSpec:
    """A spec of a job that can be killed, unless said otherwise."""
    fields: dict[str, Any] = {
        "id": "a",
        "name": "work",
        "kind": "fake",
        "work": None,
        "arguments": (),
        "identity": "work",
        "grace": 10.0,
        "notice": 0.0,
        "timeout": None,
        "can_force": True,
        "labels": {},
        "on_disconnect": DisconnectPolicy.KEEP,
        "requester": "local",
        "created": at(0.0),
    }
    return JobSpec(**{**fields, **changes})


def make_request(
    now: float = 1.0,
    *,
    cause: Cause = Cause.USER,
    grace: float = 10.0,
    force: bool = False,
    reason: str | None = None,
    requester: str = "local",
) -> Request:
    """A request to stop, accepted at `now`."""
    return Request(requester, reason, cause, at(now), grace, force)


def error(message: str = "broken") -> JobErrorInfo:
    """What a body raised."""
    return JobErrorInfo(type="ValueError", message=message)


def raised(message: str = "broken") -> Raised:
    """The body raised."""
    return Raised(error(message), PROOF)


StopInput = Cancel | Join | Escalate

_numbers = itertools.count(1)


def fresh_id() -> str:
    """An id that no other job of this run has."""
    return f"t{next(_numbers)}"
