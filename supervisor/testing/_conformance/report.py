"""What a suite found out."""

from __future__ import annotations

from typing import Any

import attrs

__all__ = ["Broken", "ConformanceReport", "NotConforming", "Skipped"]


@attrs.frozen
class Skipped:
    """A rule that could not be checked.

    Args:
        rule: its name.
        reason: why.
    """

    rule: str
    reason: str


@attrs.frozen
class Broken:
    """A rule that does not hold.

    Args:
        rule: its name.
        says: the rule.
        call: the call that showed it.
        expected: what should have come of that call.
        got: what came.
        before: the calls before that one, oldest first.
    """

    rule: str
    says: str
    call: str
    expected: str
    got: str
    before: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.rule}: {self.says}"]
        if self.before:
            lines.append(f"    after     {self.before[0]}")
            lines += [f"              {call}" for call in self.before[1:]]
        lines.append(f"    call      {self.call}")
        lines.append(f"    expected  {self.expected}")
        lines.append(f"    got       {self.got}")
        return "\n".join(lines)


@attrs.frozen
class ConformanceReport:
    """What was checked.

    Args:
        subject: the type that was checked.
        interface: what it is to be.
        checked: the rules that hold.
        skipped: those that could not be checked, each with the reason.
    """

    subject: str
    interface: str
    checked: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.subject} keeps {len(self.checked)} rules of {self.interface}"]
        lines += [f"  {rule}" for rule in self.checked]
        lines += [f"  {each.rule}: not checked, {each.reason}" for each in self.skipped]
        return "\n".join(lines)


class NotConforming(AssertionError):
    """Rules of the interface are broken; the message tells of each.

    Attributes:
        rule: the name of the first of them.
        broken: all of them.
        report: the rules that hold, and those that could not be checked.
    """

    def __init__(self, broken: tuple[Broken, ...], report: ConformanceReport) -> None:
        self.rule = broken[0].rule
        self.broken = broken
        self.report = report
        tried = len(broken) + len(report.checked)
        lines = [f"{report.subject} breaks {len(broken)} of {tried} rules of {report.interface}:"]
        lines += [f"\n  {each}" for each in broken]
        super().__init__("\n".join(lines))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.broken, self.report)
