"""Runs one rule, for so long and no longer.

Each rule has a Trio run of its own, in a thread of its own: of one that hangs where no
cancellation reaches it, or without giving Trio a turn, the thread is left behind and the next rule
is checked.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import attrs
import trio

from ..errors import BadOption
from .calls import Breach, CannotCheck, Notes
from .making import Maker
from .report import Broken, ConformanceReport, NotConforming, Skipped

__all__ = ["Bench", "Rule", "Suite", "check_patience", "is_count"]

T = TypeVar("T")
B = TypeVar("B", bound="Bench")

AFTER_CANCEL = 2.0
"""Seconds for what was cancelled to end."""


class Bench(Protocol):
    """What a rule is given."""

    notes: Notes


@attrs.frozen
class Rule(Generic[B]):
    """One rule of an interface.

    Args:
        check: checks it; named for the rule, with the rule as its docstring.
        opens: whether it opens what it checks itself.
    """

    check: Callable[[B], Awaitable[None]]
    opens: bool = False

    @property
    def name(self) -> str:
        return getattr(self.check, "__name__", "?")

    @property
    def says(self) -> str:
        return " ".join((self.check.__doc__ or "").split())


def is_count(value: object) -> bool:
    """Whether it is a whole number, 1 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def check_patience(patience: object) -> None:
    """Raises BadOption for what is no number of seconds."""
    if isinstance(patience, bool) or not isinstance(patience, (int, float)) or not patience > 0:
        raise BadOption(f"patience is a number of seconds above 0, not {patience!r}")


class _Run:
    """A thread with a Trio run, which is waited for up to a limit."""

    def __init__(self, main: Callable[[], Awaitable[Any]], patience: float, name: str) -> None:
        self._main = main
        self._patience = patience
        self._scope = trio.CancelScope()
        self._token: trio.lowlevel.TrioToken | None = None
        self._error: BaseException | None = None
        self._over = threading.Event()
        self._is_stopped = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def finished(self) -> bool:
        """Run it; False if it had to be left behind."""
        try:
            self._thread.start()
            # Not a join: on some Pythons Ctrl+C does not reach that.
            is_over = self._over.wait(min(self._patience + AFTER_CANCEL, threading.TIMEOUT_MAX))
        except BaseException:  # Ctrl+C: what runs there shall end, too
            self._stop()
            raise
        if not is_over:
            return False
        self._thread.join()
        if self._error is not None:
            raise self._error
        return True

    def _stop(self) -> None:
        self._is_stopped = True
        if not self._thread.is_alive():
            return
        with suppress(trio.RunFinishedError):
            if self._token is not None:
                self._token.run_sync_soon(self._scope.cancel)
        self._over.wait(AFTER_CANCEL)

    def _work(self) -> None:
        try:
            trio.run(self._bounded)
        except BaseException as exc:  # noqa: ASYNC103 - raised where the thread is waited for
            self._error = exc
        finally:
            self._over.set()

    async def _bounded(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        if self._is_stopped:
            self._scope.cancel()
        with self._scope:
            await self._main()


class Suite(Generic[T, B]):
    """Runs rules against what `maker` makes.

    Args:
        maker: makes one subject for each rule.
        bench: makes what a rule is given, from a subject and its notes.
        interface: the name of what is checked.
        patience: seconds that a rule may take.
    """

    def __init__(
        self,
        maker: Maker[T],
        bench: Callable[[T, Notes], B],
        interface: str,
        patience: float,
    ) -> None:
        self._maker = maker
        self._bench = bench
        self._interface = interface
        self._patience = patience

    def run(self, rules: Sequence[Rule[B]]) -> ConformanceReport:
        """Check each of the rules; the first is whether the subject can be opened at all.

        Raises:
            NotConforming: some are broken.
        """
        checked: list[str] = []
        skipped: list[Skipped] = []
        broken: list[Broken] = []
        for rule in rules:
            if broken and broken[0].rule == rules[0].name:
                skipped.append(Skipped(rule.name, "since it cannot be opened"))
                continue
            match self._verdict(rule):
                case None:
                    checked.append(rule.name)
                case CannotCheck() as why:
                    skipped.append(Skipped(rule.name, str(why)))
                case Breach() as it:
                    told = it.call, it.expected, it.got, it.before
                    broken.append(Broken(rule.name, rule.says, *told))
        report = ConformanceReport(
            self._maker.subject, self._interface, tuple(checked), tuple(skipped)
        )
        if broken:
            raise NotConforming(tuple(broken), report)
        return report

    def _verdict(self, rule: Rule[B]) -> Breach | CannotCheck | None:
        notes = Notes()
        verdicts: list[Breach | CannotCheck | None] = []
        main = partial(self._check, rule, notes, verdicts)
        if not _Run(main, self._patience, f"conformance {rule.name}").finished():
            return notes.breach(
                f"an end within {self._patience:g} s, or once it is cancelled",
                "none; its thread was left behind",
            )
        return verdicts[0]

    async def _check(
        self, rule: Rule[B], notes: Notes, verdicts: list[Breach | CannotCheck | None]
    ) -> None:
        subject = self._maker()
        bench = self._bench(subject, notes)
        with trio.move_on_after(self._patience) as scope:
            if rule.opens:
                verdicts.append(await _judged(rule, bench))
            else:
                await self._check_opened(subject, rule, bench, verdicts)
        if scope.cancelled_caught and not any(verdicts):
            verdicts[:] = [notes.breach(f"an end within {self._patience:g} s", "none")]

    async def _check_opened(
        self, subject: Any, rule: Rule[B], bench: B, verdicts: list[Breach | CannotCheck | None]
    ) -> None:
        try:
            async with opened(subject, bench.notes):
                verdicts.append(await _judged(rule, bench))
        except Exception as exc:
            if not any(verdicts):
                verdicts[:] = [_verdict_of(exc, bench.notes)]


def opened(subject: Any, notes: Notes) -> Any:
    """The async context manager that `subject.open()` gives."""
    manager = subject.open()
    if hasattr(type(manager), "__aenter__") and hasattr(type(manager), "__aexit__"):
        return manager
    notes.add("open()")
    if inspect.iscoroutine(manager):
        manager.close()  # nobody will await it
    notes.broken("an async context manager", f"a {type(manager).__name__}")


async def _judged(rule: Rule[B], bench: B) -> Breach | CannotCheck | None:
    try:
        await rule.check(bench)
    except Exception as exc:
        return _verdict_of(exc, bench.notes)
    return None


def _verdict_of(error: Exception, notes: Notes) -> Breach | CannotCheck:
    """What an exception says of a rule. Nurseries put exceptions into groups."""
    errors = list(_leaves(error))
    for kind in (Breach, CannotCheck):
        for each in errors:
            if isinstance(each, kind):
                return each
    breach = notes.breach("no exception", repr(errors[0]))
    breach.__cause__ = errors[0]
    return breach


def _leaves(error: BaseException) -> Sequence[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
