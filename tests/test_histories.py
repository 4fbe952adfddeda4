"""Histories are drawn, printed and played; whatever must hold is seen when it does not."""

from __future__ import annotations

import ast
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
import trio
from hypothesis import Phase, given, settings

from supervisor._engine import Engine
from supervisor._model import (
    CancelOutcome,
    CancelReply,
    Job,
    JobEvent,
    JobState,
    LogEntry,
    Statistics,
)
from supervisor.testing import Schedule, schedules
from supervisor.testing import commands as words
from supervisor.testing._histories import check as checking
from supervisor.testing._histories import faulty_player
from supervisor.testing._histories.broken import HistoryBroken
from supervisor.testing._histories.check import check_history
from supervisor.testing._histories.draw import histories
from supervisor.testing._histories.faulty_link import FaultyLink
from supervisor.testing._histories.ground import Ground
from supervisor.testing._histories.invariants import Broken, Seen, check_kill_is_due, check_repeat
from supervisor.testing._histories.links import Link, WireLink
from supervisor.testing._histories.model import JobModel, JobOnce, Wanted
from supervisor.testing._histories.story import in_words
from supervisor.testing._histories.works import _RunningWork
from supervisor.testing._linear import UNANSWERED
from supervisor.testing.commands import (
    Aside,
    Call,
    Cancel,
    CancelAll,
    Command,
    CutAt,
    CutIn,
    Disconnect,
    Drop,
    Duplicate,
    End,
    Get,
    History,
    Manner,
    Pass,
    Raise,
    Reconnect,
    Reorder,
    Settle,
    Shutdown,
    Silence,
    Sleep,
    Speak,
    Start,
    Ticks,
    Wait,
)
from supervisor.testing.errors import BadOption, BadScenario, KitError

ALL = vars(words)
OVER = ("process", "name", "wire", "faulty")

NEW = Start("a", reuse="allow")


async def nap() -> None:
    await trio.sleep(1.0)


# --- playing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("over", OVER)
def test_what_became_of_a_history(over: Any) -> None:
    history = History([Start("a"), Settle(), Cancel("a"), Start("b"), Settle(), End("b"), Settle()])
    played = check_history(history, over=over)
    assert {key: job.state for key, job in played.finals.items()} == {
        ("a", 1): "cancelled",
        ("b", 1): "succeeded",
    }
    assert played.entered == {("a", 1): 1, ("b", 1): 1}
    assert [event.seq for event in played.events] == [*range(1, len(played.events) + 1)]
    assert played.told[2] == "cancel a -> cancelling"
    assert played.history is history


@pytest.mark.parametrize("over", OVER)
def test_every_command_can_be_played(over: Any) -> None:
    called = []

    async def call(control: Any, number: int) -> None:
        called.append((number, (await control.get("b")).state))

    history = History(
        [
            Start("a", Manner(leaving=3.0)),
            Start("b", Manner(killable=True, spawn=2.0)),
            Aside(Start("c", work=nap)),
            Aside(Get("b")),
            Ticks(3),
            Settle(),
            Speak(),
            Wait("a"),
            Get("a"),
            Pass(2.0),
            Settle(),
            Call(call, (7,)),
            Raise("b"),
            Settle(),
            Cancel("x", if_unknown="remember"),
            Start("x"),
            Cancel("a", wait=True, twice=True, grace=5.0),
            Disconnect(),
            Get("a"),
            Sleep(5.0),
            Reconnect(),
            Start("b", conflict="replace", reuse="allow"),
            CancelAll(),
            Shutdown("drain"),
            Start("d"),
        ],
        slots=3,
    )
    played = check_history(history, over=over)
    assert called == [(7, "running")]
    assert len(played.told) == len(history.commands)
    states = {key: str(job.state) for key, job in played.finals.items()}
    assert states[("x", 1)] == "cancelled"
    assert states[("b", 1)] == "failed"
    assert states[("c", 1)] == "succeeded"
    assert ("d", 1) not in states


def test_who_is_not_connected_asks_nothing() -> None:
    history = History([Start("a"), Disconnect(), Cancel("a"), Reconnect(), Get("a")])
    told = check_history(history, over="wire").told
    assert told[2] == "cancel a -> nobody is connected"
    assert told[4] == "look at a -> running, attempt 1"
    assert check_history(history).told[2] == "cancel a -> cancelling"


def test_a_job_that_depends_on_its_connection() -> None:
    history = History([Start("a", on_disconnect="cancel"), Settle(), Disconnect(), Settle()])
    (job,) = check_history(history, over="wire").finals.values()
    assert (job.state, job.cause) == ("cancelled", "client_gone")


def test_faults_happen_over_a_faulty_link() -> None:
    history = History(
        [Start("a"), Cancel("a"), Get("a")], faults=[Drop("up", 1), CutIn("up", 3, 5)]
    )
    assert check_history(history, over="faulty").finals[("a", 1)].cause == "user"


def test_the_same_history_is_the_same_run() -> None:
    history = History([Start("a"), Aside(Cancel("a")), Get("a"), Sleep(2.0)], slots=1)
    plays = [check_history(history, Schedule(((3, 1), (2, 2))), over="wire") for _ in range(5)]
    said = {(each.told, tuple(event.type for event in each.events)) for each in plays}
    assert len(said) == 1


def test_the_same_work_of_ones_own_is_the_same_job() -> None:
    again = [Start("a", work=trio.sleep, arguments=[9.0])] * 2
    other = Start("a", work=trio.sleep, arguments=[8.0])
    told = check_history(History([*again, other])).told
    assert [line.partition(" -> ")[2] for line in told] == [
        "created, starting",
        "it exists, starting",
        "JobIdConflict",
    ]


# --- what is drawn, and printed -------------------------------------------------------------------


@given(histories(faults=True))
@settings(max_examples=50)
def test_a_history_can_be_pasted(history: History) -> None:
    assert eval(repr(history), ALL) == history
    for command in history.commands:
        assert in_words(command)


def test_what_is_printed_is_short() -> None:
    history = History([Start("a", Manner(killable=True)), Cancel("a", force=True)], slots=2)
    assert repr(history) == (
        "History([Start('a', manner=Manner(killable=True)), Cancel('a', force=True)], slots=2)"
    )
    assert repr(Start("a", work=nap)) == "Start('a', work=nap)"
    assert repr(History([Sleep(1.0)], faults=[CutAt("up", 5)])) == (
        "History([Sleep(1.0)], faults=[CutAt('up', 5)])"
    )


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (Start("a"), "start a"),
        (
            Start("a", Manner(killable=True, dies=False), timeout=5.0, conflict="replace"),
            "start a (killable, does not die when killed, timeout 5 s, if live: replace)",
        ),
        (Start("a", work=nap, same=True), "start a (nap, the same work again)"),
        (Cancel("a", grace=0.5, force=True), "cancel a (grace 0.5 s, by force)"),
        (Aside(Cancel("a", attempt=2)), "at the same time: cancel a (attempt 2)"),
        (CancelAll(4.0), "cancel all (grace 4 s)"),
        (Shutdown("drain"), "shut down (drain)"),
        (Pass(700.0), "700 s pass at once"),
        (Call(nap), "call nap"),
    ],
)
def test_commands_in_words(command: Command, said: str) -> None:
    assert in_words(command) == said


def commands_in(history: History) -> set[type]:
    return {type(command) for command in history.commands}


def test_everything_is_drawn() -> None:
    seen: set[type] = set()
    faulty: set[type] = set()
    ids: set[str] = set()

    @settings(max_examples=300, database=None, derandomize=True, phases=[Phase.generate])
    @given(histories(5, 20, ids=("p", "q"), faults=True))
    def look(history: History) -> None:
        assert 6 <= len(history.commands) <= 25
        seen.update(commands_in(history))
        faulty.update(map(type, history.faults))
        ids.update(history.job_ids)

    look()
    assert seen == {*Command.__args__} - {Call}
    assert faulty == {Drop, Duplicate, Reorder, CutIn, CutAt, Silence}
    assert ids == {"p", "q"}


@given(histories(1, 3))
@settings(max_examples=30)
def test_faults_are_drawn_only_if_asked_for(history: History) -> None:
    assert not history.faults


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: History([Start("a"), 2]), "command 1 of this History is 2"),
        (lambda: History(Start("a")), "must be a list of commands, not Start"),
        (lambda: History("abc"), "must be a list of commands"),
        (lambda: History([], slots=0), "slots=.*from 1, not 0"),
        (lambda: History([], faults=[Settle()]), "fault 0 of this History"),
        (lambda: Start("?"), "job_id=.*cannot be '\\?'"),
        (lambda: Start(None), "job_id="),
        (lambda: Start("a", "killable"), "must be a Manner"),
        (lambda: Start("a", conflict="no"), "conflict=.*'replace'"),
        (lambda: Start("a", timeout=-1), "timeout=.*0 or more"),
        (lambda: Start("a", work=3), "async function"),
        (lambda: Sleep(float("inf")), "finite"),
        (lambda: Ticks(0), "whole number"),
        (lambda: Aside(Wait("a")), "a Start, a Cancel or a Get"),
        (lambda: Drop("sideways", 1), "way="),
        (lambda: Drop("up", 1.5), "whole number"),
        (lambda: histories(ids=["a", "b c"]), r"\['b c'\] cannot be used"),
        (lambda: histories(ids=[]), "one or more"),
        (lambda: histories(ids="abc"), "a list of job ids"),
        (lambda: histories(5, 2), "more than max_commands"),
        (lambda: histories(-1), "min_commands="),
        (lambda: check_history([Start("a")]), "needs a History"),
        (lambda: check_history(History([]), [(1, 1)]), "needs a Schedule"),
        (lambda: check_history(History([]), over="tcp"), "'process', 'name', 'wire', 'faulty'"),
        (lambda: check_history(History([], faults=[Drop("up", 1)])), "over='faulty'"),
    ],
)
def test_what_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(BadOption, match=said):
        make()


def test_what_cannot_be_played_is_not_called_broken() -> None:
    async def threads() -> None:
        await trio.to_thread.run_sync(int)

    with pytest.raises(KitError, match="thread"):
        check_history(History([Start("a", work=threads), Settle()]))


# --- a supervisor that lies -----------------------------------------------------------------------


class Control:
    """Passes everything on; what it lies about is overridden."""

    def __init__(self, control: Any) -> None:
        self._control = control

    def __getattr__(self, name: str) -> Any:
        return getattr(self._control, name)


class JoinsAlways(Control):
    async def cancel(self, job_id: str, **options: Any) -> CancelReply:
        reply = await self._control.cancel(job_id, **options)
        return attrs.evolve(reply, outcome=CancelOutcome.JOINED)


class ShowsTheFirst(Control):
    shown: dict[str, Job]

    async def get(self, job_id: str) -> Job:
        self.__dict__.setdefault("shown", {})
        return self.shown.setdefault(job_id, await self._control.get(job_id))


class CountsDown(Control):
    async def get(self, job_id: str) -> Job:
        return attrs.evolve(await self._control.get(job_id), attempt=7)


class ForgetsToRemember(Control):
    async def cancel(self, job_id: str, **options: Any) -> CancelReply:
        return CancelReply(outcome=CancelOutcome.RECORDED, job_id=job_id, seq=0)


class SaysCancelled(Control):
    async def cancel(self, job_id: str, **options: Any) -> CancelReply:
        job = await self._control.get(job_id)
        return CancelReply(outcome=CancelOutcome.CANCELLED, job_id=job_id, seq=0, job=job)


class WaitsForNothing(Control):
    async def wait(self, job_id: str) -> Job:
        return await self._control.get(job_id)


class WaitsForEver(Control):
    async def wait(self, job_id: str) -> Job:
        await trio.sleep_forever()
        raise AssertionError


class StartsTwice(Control):
    async def start(self, *args: Any, **options: Any) -> Any:
        await self._control.start(*args, **options)
        return await self._control.start(*args, **{**options, "id_conflict_policy": "replace"})


class LeavesOneOut(Control):
    async def cancel_many(self, *args: Any, **options: Any) -> Any:
        return (await self._control.cancel_many(*args, **options))[1:]


class DropsOut(Control):
    async def cancel(self, job_id: str, **options: Any) -> CancelReply:
        raise KeyError(job_id)


def lying(lie: type[Control], link: type[Link] = Link) -> type[Link]:
    class LyingLink(link):  # type: ignore[misc,valid-type]
        @asynccontextmanager
        async def open(self) -> AsyncIterator[Any]:
            async with super().open() as control:
                yield lie(control)

    return LyingLink


LIES: list[tuple[type[Control], list[Command], str]] = [
    (JoinsAlways, [Start("a"), Cancel("a")], "order"),
    (ShowsTheFirst, [Start("a"), Cancel("a"), Sleep(1.0), Get("a")], "order"),
    (CountsDown, [Start("a"), Get("a")], "order"),
    (ForgetsToRemember, [Cancel("a", if_unknown="remember"), Start("a")], "I9"),
    (SaysCancelled, [Start("a"), Cancel("a")], "I13"),
    (WaitsForNothing, [Start("a"), Wait("a"), Settle()], "I15"),
    (WaitsForEver, [Start("a"), End("a"), Wait("a")], "I15"),
    (StartsTwice, [Start("a"), Sleep(1.0)], "I10"),
    (LeavesOneOut, [Start("a"), Start("b"), CancelAll()], "order"),
    (DropsOut, [Start("a"), Cancel("a")], "alive"),
]


@pytest.mark.parametrize(
    ("lie", "commands", "number"), LIES, ids=[lie.__name__ for lie, *_ in LIES]
)
def test_a_lie_is_seen(
    monkeypatch: pytest.MonkeyPatch, lie: type[Control], commands: list[Command], number: str
) -> None:
    assert check_history(History(commands))
    monkeypatch.setitem(checking.LINKS, "process", lying(lie))
    with pytest.raises(HistoryBroken) as caught:
        check_history(History(commands))
    assert caught.value.number == number
    assert caught.value.invariant in str(caught.value)


def test_a_lie_over_the_wire_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(checking.LINKS, "wire", lying(JoinsAlways, WireLink))
    with pytest.raises(HistoryBroken, match="fit an order"):
        check_history(History([Start("a"), Cancel("a")]), over="wire")


class DropsAnEvent(Control):
    @asynccontextmanager
    async def watch(self, **options: Any) -> AsyncIterator[Any]:
        async with self._control.watch(**options) as events:

            async def some() -> AsyncIterator[Any]:
                async for item in events:
                    if getattr(item, "seq", 0) != 2:
                        yield item

            yield some()


def test_an_event_that_a_client_does_not_hear_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faulty_player, "FaultyLink", lying(DropsAnEvent, FaultyLink))
    history = History([Start("a"), Settle(), Cancel("a")], faults=[Drop("up", 2), CutAt("down", 0)])
    with pytest.raises(HistoryBroken) as caught:
        check_history(history, over="faulty")
    assert caught.value.number in ("I13", "wire")
    assert "faults that came about:\n  CutAt('down', 0)\n  Drop('up', 2): " in str(caught.value)


def test_what_is_raised_can_be_sent_to_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = pickle.loads(pickle.dumps(Broken("I3", "it lives")))
    assert (broken.number, broken.detail, str(broken)[:3]) == ("I3", "it lives", "I3:")
    monkeypatch.setitem(checking.LINKS, "process", lying(JoinsAlways))
    with pytest.raises(HistoryBroken) as caught:
        check_history(History([Start("a"), Cancel("a")]))
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.history) == (str(caught.value), caught.value.history)


def test_the_story_of_a_broken_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(checking.LINKS, "process", lying(WaitsForNothing))
    history = History(
        [Start("a", Manner(killable=True)), Wait("a"), Sleep(1.0), End("a"), Get("b")]
    )
    schedule = Schedule(((2, 1), (0, 1)))
    with pytest.raises(HistoryBroken) as caught:
        check_history(history, schedule)
    broken = caught.value
    assert (broken.history, broken.schedule) == (history, schedule)
    text = str(broken)
    assert "this does not hold: everybody who waits" in text
    assert "  1. start a (killable) -> created" in text
    assert "  2. wait for the end of a ->" in text
    assert " more were not played)" in text
    assert f"schedule: {schedule}\n" in text
    assert " was put off at " in text
    pasted = text[text.index("from supervisor.testing import") :].replace("\n  ", "\n")
    pasted = pasted.replace(
        "from supervisor.testing import Schedule, check_history", ""
    )  # as this module has them
    ast.parse(pasted)
    with pytest.raises(HistoryBroken) as again:
        exec(pasted, {"Schedule": Schedule, "check_history": check_history})
    assert str(again.value) == text


def test_a_lie_shrinks_to_what_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(checking.LINKS, "process", lying(JoinsAlways))

    @settings(
        max_examples=200,
        database=None,
        derandomize=True,
        print_blob=False,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink],
    )
    @given(histories(0, 10), schedules())
    def holds(history: History, schedule: Schedule) -> None:
        check_history(history, schedule)

    with pytest.raises(HistoryBroken) as caught:
        holds()
    broken = caught.value
    assert len(broken.history.commands) <= 3
    assert broken.schedule.preemptions == 0


def test_what_a_call_of_ones_own_asserts_is_told() -> None:
    async def look(control: Any) -> None:
        job = await control.get("a")
        assert job.state == "succeeded", f"it is {job.state}"

    with pytest.raises(HistoryBroken, match="your own check\n  it is running") as caught:
        check_history(History([Start("a"), Settle(), Call(look)]))
    assert caught.value.number == "yours"


def test_a_work_of_ones_own_that_does_not_end() -> None:
    async def stubborn() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    with pytest.raises(HistoryBroken, match="everything comes to an end"):
        check_history(History([Start("a", work=stubborn), Settle(), Cancel("a")]))


# --- a supervisor that is broken ------------------------------------------------------------------


def test_a_launcher_that_leaves_something_alive_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def live(self: _RunningWork) -> Any:
        self.work.ground.enter(self.attempt)  # and nobody leaves
        return await original(self)

    original = _RunningWork._live
    monkeypatch.setattr(_RunningWork, "_live", live)
    with pytest.raises(HistoryBroken, match=r"entered twice|alive"):
        check_history(History([Start("a", Manner(killable=True)), Settle(), End("a"), Settle()]))


def test_a_body_that_is_entered_too_late_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(self: _RunningWork) -> Any:
        exit = await original(self)
        self.work.ground.enter(self.attempt)
        self.work.ground.leave(self.attempt)
        return exit

    history = History([Start("a", Manner(killable=True, spawn=2.0)), Settle(), Cancel("a")])
    check_history(history)
    original = _RunningWork.run
    monkeypatch.setattr(_RunningWork, "run", run)
    with pytest.raises(HistoryBroken) as caught:
        check_history(history)
    assert caught.value.number == "I2"


def test_a_slot_that_is_not_given_back_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    history = History([Start("a"), Settle(), End("a"), Settle(), Start("b"), Settle()], slots=1)
    check_history(history)

    def leak(self: Engine, *args: Any) -> None:
        original(self, *args)
        self.slots_used += 1

    original = Engine._on_ended
    monkeypatch.setattr(Engine, "_on_ended", leak)
    with pytest.raises(HistoryBroken) as caught:
        check_history(history)
    assert caught.value.number == "I11"


# --- each invariant, on records made by hand ------------------------------------------------------

NOW = datetime(2025, 1, 1, tzinfo=UTC)


def job(state: str, attempt: int = 1, **changes: Any) -> Job:
    fields = {"id": "a", "name": "w", "kind": "fake", "version": 1, "seq": 1, "created_at": NOW}
    return Job(**{**fields, "state": JobState(state), "attempt": attempt, **changes})


def event(seq: int, state: str, attempt: int = 1, type: str = "job.changed") -> JobEvent:
    return JobEvent(
        instance="i", seq=seq, time=NOW, type=type, job_id="a", attempt=attempt,
        state=JobState(state),
    )  # fmt: skip


def line(attempt: int = 1) -> LogEntry:
    return LogEntry(job_id="a", attempt=attempt, n=1, time=NOW, stream="log", text="t")


def statistics(**changes: Any) -> Statistics:
    jobs = {str(state): 0 for state in JobState}
    counts = {key: value for key, value in changes.items() if key in jobs}
    rest = {key: value for key, value in changes.items() if key not in jobs}
    fields: dict[str, Any] = {
        "instance": "i", "seq": 1, "jobs": {**jobs, **counts}, "slots_used": 0, "tombstones": 0,
        "watchers": 0, "log_bytes": 0, "accepting": True,
    }  # fmt: skip
    return Statistics(**{**fields, **rest})


def looked(seen: Seen, *jobs: Job, now: float = 0.0, tombstones: int = 0, **counts: Any) -> None:
    seen.check(jobs, statistics(**counts), tombstones, now)


def new(slots: int | None = None) -> tuple[Seen, Ground]:
    ground = Ground()
    return Seen(ground, slots, 2), ground


def read(*events: Any) -> Callable[[Seen, Ground], None]:
    def show(seen: Seen, ground: Ground) -> None:
        for each in events:
            seen.read(each)

    return show


FINISHED = event(2, "succeeded", type="job.finished")


def final_twice(seen: Seen, ground: Ground) -> None:
    read(event(1, "running"), FINISHED)(seen, ground)
    looked(seen, job("succeeded"))
    looked(seen, job("succeeded"))
    looked(seen, job("succeeded", result=2))


def came_back(seen: Seen, ground: Ground) -> None:
    seen.read(event(1, "succeeded"))
    looked(seen, job("succeeded"))
    seen._newest["a"] = event(1, "running")
    looked(seen, job("running"))


def never_started(seen: Seen, ground: Ground) -> None:
    ground.enter(("a", 1))
    ground.leave(("a", 1))
    seen.read(event(1, "failed"))
    looked(seen, job("failed", how="never_started"))


def lost_cancel(seen: Seen, ground: Ground) -> None:
    ground.won.add(("a", 1))
    ground.enter(("a", 1))
    looked(seen)


def alive_at_the_end(seen: Seen, ground: Ground) -> None:
    ground.enter(("a", 1))
    seen.read(event(1, "succeeded"))
    looked(seen, job("succeeded"))


def two_alive(seen: Seen, ground: Ground) -> None:
    ground.enter(("a", 1))
    ground.enter(("a", 2))
    looked(seen)


def later_kill(seen: Seen, ground: Ground) -> None:
    seen.read(event(1, "cancelling"))
    looked(seen, job("cancelling", kill_in=5.0), now=10.0)
    looked(seen, job("cancelling", kill_in=3.0), now=12.0)
    looked(seen, job("cancelling", kill_in=4.0), now=12.0)


def no_event(seen: Seen, ground: Ground) -> None:
    looked(seen, job("running"))


def another_state(seen: Seen, ground: Ground) -> None:
    seen.read(event(1, "running"))
    looked(seen, job("cancelling"))


def without_certificate(seen: Seen, ground: Ground) -> None:
    seen.read(event(1, "cancelled"))
    looked(seen, job("cancelled"))


@pytest.mark.parametrize(
    ("show", "number"),
    [
        (final_twice, "I1"),
        (came_back, "I1"),
        (without_certificate, "I1"),
        (never_started, "I2"),
        (lost_cancel, "I2"),
        (alive_at_the_end, "I3"),
        (later_kill, "I5"),
        (two_alive, "I6"),
        (read(event(1, "running"), event(2, "pending", 2)), "I6"),
        (lambda seen, ground: looked(seen, tombstones=3), "I9"),
        (lambda seen, ground: looked(seen, running=1), "I11"),
        (no_event, "I12"),
        (another_state, "I12"),
        (read(event(2, "running")), "I12"),
        (read(event(1, "running"), event(2, "starting")), "I12"),
        (read(event(1, "succeeded"), event(2, "pending", 3)), "I12"),
        (read(event(1, "running"), FINISHED, event(3, "failed")), "I14"),
        (read(event(1, "running"), FINISHED, line()), "I14"),
        (read(event(1, "running"), line()), "I14"),
    ],
)
def test_what_must_not_be_is_seen(show: Callable[[Seen, Ground], None], number: str) -> None:
    with pytest.raises(Broken) as caught:
        show(*new())
    assert caught.value.number == number


@pytest.mark.parametrize(
    "counts", [{"running": 2, "slots_used": 2}, {"running": 0, "pending": 1, "slots_used": 0}]
)
def test_slots_that_are_too_many_or_left_free_are_seen(counts: dict[str, int]) -> None:
    seen, _ = new(slots=1)
    looked(seen, running=1, slots_used=1, pending=3)
    with pytest.raises(Broken, match="I11"):
        looked(seen, **counts)


@pytest.mark.parametrize(
    "counts", [{"running": 1}, {"slots_used": 1}, {"watchers": 1}, {"cancelling": 1}]
)
def test_what_is_left_is_seen(counts: dict[str, int]) -> None:
    seen, ground = new()
    seen.check_at_rest(statistics(succeeded=3))
    with pytest.raises(Broken, match="I8"):
        seen.check_at_rest(statistics(**counts))
    ground.enter(("a", 1))
    with pytest.raises(Broken, match="I3"):
        seen.check_at_rest(statistics())


def reply(outcome: str, state: str, **changes: Any) -> CancelReply:
    return CancelReply(outcome=CancelOutcome(outcome), job_id="a", seq=1, job=job(state, **changes))


@pytest.mark.parametrize(
    ("second", "holds"),
    [
        (reply("joined", "cancelling"), True),
        (reply("already_cancelled", "cancelled"), True),
        (reply("cancelling", "cancelling"), False),
        (reply("escalated", "cancelling"), False),
        (reply("joined", "running"), False),
        (reply("joined", "running", attempt=2), True),
    ],
)
def test_a_repeated_cancel(second: CancelReply, holds: bool) -> None:
    first = reply("cancelling", "cancelling")
    if holds:
        check_repeat(first, second)
    else:
        with pytest.raises(Broken, match="I4"):
            check_repeat(first, second)


def test_a_repeated_cancel_of_what_was_over_changes_nothing() -> None:
    first = reply("already_finished", "succeeded")
    check_repeat(first, first)
    with pytest.raises(Broken, match="I4"):
        check_repeat(first, reply("already_finished", "succeeded", result=3))


# --- the model of one job -------------------------------------------------------------------------


def possible(*steps: tuple[Any, object], work: int = 0) -> bool:
    """Whether the model gives these answers, one after the other, each a second later."""
    model = JobModel()
    states: set[JobOnce] = {model.initial}
    for second, (request, answer) in enumerate(steps):
        what = Wanted(request, work, float(second), float(second))
        states = {after for state in states for after in model.step(state, what, answer)}
    return bool(states)


STARTED = (NEW, "created")
ENDS = (End("a"), "done")


@pytest.mark.parametrize(
    "steps",
    [
        [STARTED, (Cancel("a"), ("cancelling", 1)), (Cancel("a"), ("joined", 1))],
        [STARTED, (Cancel("a"), ("cancelled", 1)), (Cancel("a"), ("already_cancelled", 1))],
        [STARTED, (Get("a"), (1, "running")), ENDS, (Get("a"), (1, "succeeded")), STARTED],
        [STARTED, ENDS, (Get("a"), (1, "running")), (Get("a"), (1, "succeeded"))],
        [(Start("a", Manner(spawn_fails=True)), "created"), (Get("a"), (1, "failed"))],
        [STARTED, (Cancel("a", attempt=2), ("stale_attempt", 1)), (Get("a"), (1, "pending"))],
        [(Cancel("a"), "JobNotFound"), (Get("a"), "JobNotFound"), (Wait("a"), "JobNotFound")],
        [
            (Cancel("a", if_unknown="remember"), ("recorded", None)),
            STARTED,
            (Get("a"), (1, "cancelled")),
        ],
        [
            (Cancel("a", if_unknown="remember"), ("recorded", None)),
            (Start("a", remembered="run"), "created"),
            (Get("a"), (1, "running")),
        ],
        [STARTED, (Start("a", conflict="replace"), "created"), (Get("a"), (2, "running"))],
        [STARTED, (Start("a", conflict="fail"), "JobIdConflict")],
        [
            STARTED,
            (Start("a"), "existing"),
            ENDS,
            (Wait("a"), (1, "failed")),
            (Start("a"), "existing"),
        ],
        [STARTED, (Shutdown("cancel"), "done"), (Get("a"), (1, "cancelling"))],
        [(Shutdown("drain"), "done"), (Start("a"), "ShuttingDown")],
        [STARTED, (CancelAll(), ("cancelling", 1)), (CancelAll(), "not live")],
        [(Start("a", timeout=1.0), "created"), (Get("a"), (1, "cancelling"))],
        [
            STARTED,
            ENDS,
            (Get("a"), (1, "failed")),
            (Start("a", reuse="allow_failed_only"), "created"),
        ],
    ],
)
def test_the_model_allows(steps: list[tuple[Any, object]]) -> None:
    assert possible(*steps)


@pytest.mark.parametrize(
    "steps",
    [
        [(Get("a"), (1, "running"))],
        [STARTED, (Get("a"), "JobNotFound")],
        [STARTED, (Cancel("a"), ("joined", 1))],
        [STARTED, (Get("a"), (1, "cancelling"))],
        [STARTED, (Get("a"), (1, "succeeded"))],
        [STARTED, (CancelAll(), "not live")],
        [STARTED, ENDS, (Get("a"), (1, "succeeded")), (Get("a"), (1, "running"))],
        [STARTED, ENDS, (Get("a"), (1, "succeeded")), (Get("a"), (1, "failed"))],
        [STARTED, ENDS, (Get("a"), (1, "succeeded")), (Cancel("a"), ("already_cancelled", 1))],
        [STARTED, (Cancel("a"), ("cancelling", 1)), (Get("a"), (1, "running"))],
        [STARTED, (Cancel("a"), ("cancelling", 1)), (Cancel("a"), ("cancelling", 1))],
        [STARTED, (Cancel("a"), ("cancelled", 1)), (Get("a"), (1, "succeeded"))],
        [STARTED, (Cancel("a", attempt=2), ("cancelling", 1))],
        [STARTED, (Get("a"), (2, "running"))],
        [STARTED, (Start("a"), "JobIdConflict")],
        [(Cancel("a", if_unknown="remember"), "JobNotFound")],
        [
            (Cancel("a", if_unknown="remember"), ("recorded", None)),
            STARTED,
            (Get("a"), (1, "running")),
        ],
        [(Shutdown("drain"), "done"), STARTED],
        [STARTED, (Shutdown("drain"), "done"), (Get("a"), (1, "cancelling"))],
        [STARTED, ENDS, (Get("a"), (1, "succeeded")), (CancelAll(), ("cancelling", 1))],
        [
            *(STARTED, ENDS),
            (Get("a"), (1, "succeeded")),
            (Start("a", reuse="allow_failed_only"), "created"),
        ],
        [STARTED, (Start("a", conflict="replace"), "created"),
         (Cancel("a"), ("joined", 1)), (Get("a"), (2, "running"))],
    ],
)  # fmt: skip
def test_the_model_refuses(steps: list[tuple[Any, object]]) -> None:
    assert not possible(*steps)


def test_a_remembered_cancel_is_forgotten_in_time() -> None:
    model = JobModel()
    remember = Wanted(Cancel("a", if_unknown="remember"), -1, 0.0, 0.0)
    (recorded,) = model.step(model.initial, remember, ("recorded", None))
    for seconds, answers in ((599.0, False), (600.0, True)):
        look = Wanted(Start("a"), 0, seconds, seconds)
        (*created,) = model.step(recorded, look, "created")
        assert any(state.phase == "live" for state in created) == answers


def test_how_an_attempt_ended_is_taken_into_account() -> None:
    again = Wanted(Start("a", reuse="allow_failed_only"), 1, 2.0, 2.0)
    state = JobOnce(1, "live", work=0, over=frozenset({0}))
    for ended, created in (
        ({}, True),
        ({1: JobState.FAILED}, True),
        ({1: JobState.SUCCEEDED}, False),
    ):
        assert bool([*JobModel(ended).step(state, again, "created")]) == created


def test_a_kill_that_is_due_too_late_is_seen() -> None:
    for grace, force, kill_in, holds in [
        (5.0, False, 5.0, True),
        (5.0, False, 5.1, False),
        (None, False, 60.0, True),
        (5.0, True, 0.0, True),
        (5.0, True, 0.1, False),
    ]:
        answer = reply("escalated", "cancelling", grace=7.0, notice=3.0, kill_in=kill_in)
        if holds:
            check_kill_is_due(answer, grace, force)
        else:
            with pytest.raises(Broken, match="I5"):
                check_kill_is_due(answer, grace, force)
    first = reply("cancelling", "cancelling", grace=7.0, notice=3.0, kill_in=10.0)
    check_kill_is_due(first, None, False)
    check_kill_is_due(first, 7.0, False)
    for grace, force in [(6.9, False), (None, True)]:
        with pytest.raises(Broken, match="I5"):
            check_kill_is_due(first, grace, force)


def test_what_was_never_answered_may_have_done_anything() -> None:
    model = JobModel()
    started = Wanted(Start("a"), 0, 0.0, 0.0)
    assert [*model.step(model.initial, started, UNANSWERED)]


def test_a_killable_work_is_one() -> None:
    played = check_history(
        History([Start("a", Manner(killable=True)), Settle(), Cancel("a", force=True)])
    )
    (finished,) = played.finals.values()
    assert (finished.kind, finished.how) == ("fake", "forced")


def test_hypothesis_is_needed_only_to_draw() -> None:
    program = (
        "import sys; sys.modules['hypothesis'] = sys.modules['pytest'] = None\n"
        "from supervisor.testing.commands import *\n"
        "from supervisor.testing._histories.check import check_history\n"
        "print(check_history(History([Start('a'), Cancel('a')])).told[1])\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout == "cancel a -> cancelling\n", ran.stderr


def test_the_end_of_an_attempt_that_was_followed_at_once_is_kept() -> None:
    history = History([Start("a"), Settle(), Start("a", conflict="replace"), Settle(), End("a")])
    finals = check_history(history).finals
    assert {attempt: str(job.state) for attempt, job in finals.items()} == {
        ("a", 1): "cancelled",
        ("a", 2): "succeeded",
    }


def test_a_work_of_ones_own_is_checked_at_once() -> None:
    async def send(to: str) -> None: ...

    with pytest.raises(BadScenario, match=r"Start\(work=\) needs an `async def`"):
        Start("a", work=print)  # type: ignore[arg-type]
    with pytest.raises(BadScenario, match="cannot be called with no arguments"):
        Start("a", work=send)
    with pytest.raises(BadOption, match="must be a list of arguments, not 'xy'"):
        Start("a", work=send, arguments="xy")
    assert Start("a", work=send, arguments=["x"]).arguments == ("x",)
