"""Bodies, stores and signals at their oddest: the others never notice, and nothing hangs."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from fakes import FakeLauncher, Script, open_sup, run, settle

from supervisor import JobState
from supervisor._failure import error_info, holds_interrupt
from supervisor.stores.memory import MemoryStore


class Silent(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class Interrupting(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


class OddNotes(Exception):
    __notes__ = 5


class NotesThatExit(Exception):
    @property
    def __notes__(self) -> Any:
        raise SystemExit


class UnderivableGroup(BaseExceptionGroup[BaseException]):
    def derive(self, excs: Any) -> Any:
        raise SystemExit


class HiddenGroup(ExceptionGroup[Exception]):  # noqa: ASYNC126
    @property
    def exceptions(self) -> Any:
        raise SystemExit


def nested(depth: int) -> BaseException:
    error: BaseException = ValueError("deep")
    for _ in range(depth):
        error = BaseExceptionGroup("", [error])
    return error


ODD = [
    Silent(),
    Interrupting(),
    OddNotes("x"),
    NotesThatExit("x"),
    UnderivableGroup("", [ValueError("x")]),
    HiddenGroup("", [ValueError("x")]),
    nested(3000),
    SystemExit(5),
    GeneratorExit(),
]


@pytest.mark.parametrize("error", ODD, ids=lambda error: type(error).__name__)
def test_whatever_a_body_raises_fails_only_its_own_job(error: BaseException) -> None:
    async def odd() -> None:
        raise error

    async def main() -> None:
        async with open_sup() as sup:
            other = await sup.start(trio.sleep, 5)
            job = await sup.start(odd)
            record = await job.wait()
            assert record.state is JobState.FAILED
            assert record.error is not None and record.error.type.endswith(type(error).__name__)
            assert other.state is JobState.RUNNING
            assert (await other.wait()).state is JobState.SUCCEEDED

    run(main)


def test_what_cannot_be_shown_is_said_to_be_so() -> None:
    info = error_info(Silent())
    assert info.message == "<its message cannot be shown: SystemExit>"
    assert "Silent" in (info.traceback or "")
    assert error_info(OddNotes()).notes == ("<its notes cannot be shown: TypeError>",)


def test_an_interrupt_is_found_in_any_group() -> None:
    assert holds_interrupt(KeyboardInterrupt())
    assert holds_interrupt(BaseExceptionGroup("", [ValueError(), KeyboardInterrupt()]))
    assert holds_interrupt(UnderivableGroup("", [nested(3000), KeyboardInterrupt()]))
    assert not holds_interrupt(nested(3000))
    assert not holds_interrupt(HiddenGroup("", [ValueError()]))


def test_an_interrupt_in_a_group_that_resists_still_ends_the_block() -> None:
    async def odd() -> None:
        raise UnderivableGroup("", [ValueError("x"), KeyboardInterrupt()])

    async def main() -> None:
        with pytest.raises(BaseExceptionGroup):  # noqa: ASYNC401 - of its own class
            async with open_sup() as sup:
                await sup.start(odd)
                await trio.sleep(1)

    run(main)


class LookingStore(MemoryStore):
    """Notes whether each of its decisions could be torn by Ctrl+C."""

    def __init__(self) -> None:
        super().__init__()
        self.protected: dict[tuple[str, ...], bool] = {}

    def swap(self, spec: Any, expected: Any, record: Any, events: Any, wall: Any) -> int:
        self.protected[events] = trio.lowlevel.currently_ki_protected()
        return super().swap(spec, expected, record, events, wall)


def test_no_step_can_be_torn_by_ctrl_c_but_a_body_can_be_interrupted() -> None:
    store = LookingStore()
    in_body = []

    async def body() -> None:
        in_body.append(trio.lowlevel.currently_ki_protected())
        await trio.sleep_forever()

    async def main() -> None:
        async with open_sup(
            store=store, launchers=(FakeLauncher(), FunctionLauncherHere()), slots=2
        ) as sup:
            stubborn = await sup.start(Script(obeys=False), grace=1, notice=1)
            await sup.start(body, timeout=3)
            waiting = await sup.start(body)
            await settle()
            await waiting.cancel()
            await stubborn.cancel(wait="finished")
            await trio.sleep(10)

    run(main)
    assert in_body == [False]
    assert set(store.protected) >= {
        ("job.starting",),
        ("job.pending",),
        ("job.started",),
        ("job.cancelling",),
        ("job.escalated",),
        ("job.finished",),
    }
    assert all(store.protected.values()), store.protected


def FunctionLauncherHere() -> Any:
    from supervisor.launchers.function import FunctionLauncher

    return FunctionLauncher()


class BrokenStore(MemoryStore):
    def swap(self, spec: Any, expected: Any, record: Any, events: Any, wall: Any) -> int:
        if events == ("job.finished",):
            raise RuntimeError("the disk is on fire")
        return super().swap(spec, expected, record, events, wall)


def test_a_bug_of_ours_ends_the_block_with_its_error_and_does_not_hang() -> None:
    async def main() -> None:
        with pytest.raises(BaseExceptionGroup) as caught:  # noqa: ASYNC401 - whatever is around
            async with open_sup(store=BrokenStore()) as sup:
                await sup.start(trio.sleep, 1)
                await sup.start(trio.sleep_forever)
                await trio.sleep(100)
        assert caught.value.subgroup(RuntimeError) is not None

    run(main)


class FailingLauncher(FakeLauncher):
    def prepare(self, spec: Any, attempt: int, sink: Any) -> Any:
        running = super().prepare(spec, attempt, sink)

        async def fail() -> Any:
            raise SystemExit("a launcher's bug")

        running.run = fail  # type: ignore[method-assign]
        return running


def test_a_launcher_that_fails_fails_its_job_and_proves_nothing() -> None:
    async def main() -> None:
        async with open_sup(launchers=(FailingLauncher(), FunctionLauncherHere())) as sup:
            other = await sup.start(trio.sleep, 5)
            job = await sup.start(Script())
            record = await job.wait()
            assert (record.state, record.how) == (JobState.FAILED, "raised")
            assert (await other.wait()).state is JobState.SUCCEEDED

    run(main)


def test_what_was_started_is_in_the_hands_of_a_cancelled_caller() -> None:
    async def main() -> None:
        from supervisor import JobRequest

        async with open_sup() as sup:
            answers: list[Any] = []

            async def start() -> None:
                answers.extend(await sup.start_many([JobRequest(trio.sleep, (1,))] * 500))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(start)
                for _ in range(3):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            started = sum((await sup.statistics()).jobs.values())
            assert len(answers) == started

    run(main)


@pytest.mark.parametrize("message", [object(), {"a": 1}, 5, "x" * 5000])
def test_an_odd_word_on_progress_is_refused_where_it_is_said(message: Any) -> None:
    import supervisor

    async def body() -> None:
        supervisor.current_job().progress(1, 2, message)

    async def main() -> None:
        async with open_sup() as sup:
            record = await (await sup.start(body)).wait()
            assert record.error is not None and "message" in record.error.message
            assert len(await sup.list()) == 1

    run(main)
