"""Replays the planted bugs, and compares what happens with `expected.txt`, step by step.

    python tests/planted/replay_all.py           replay; says what differs
    python tests/planted/replay_all.py --write   find the bugs anew, and write `expected.txt`

Every Python and every Trio has to come to what is written there. Neither task ids nor lines of
Trio's own code are part of it.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import attrs
import trio

if __name__ == "__main__":  # started as a script: the tests are not on the path
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import planted
from supervisor.testing import replay
from supervisor.testing._schedules.run import run_once

HERE = str(Path(__file__).resolve().parent)

EXPECTED = Path(HERE, "expected.txt")

HEAD = """\
# Written by replay_all.py: a planted bug, its replay text, a digest of what every step did and of
# how it ended, and a digest of the story.
"""

Scenario = Callable[[], Awaitable[None]]


@attrs.frozen
class Expected:
    """A line of the file."""

    name: str
    replay_text: str
    steps: str
    story: str

    def __str__(self) -> str:
        return f"{self.name:22} | {self.replay_text:20} | {self.steps} | {self.story}"


class Steps(trio.abc.Instrument):
    """Keeps which task went on at which lines of the planted bug."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if task.name.startswith("<"):
            return  # Trio's own
        if inspect.getcoroutinestate(task.coro) == inspect.CORO_CREATED:
            lines = ["its beginning"]
        else:
            frames = [(frame.f_code, line) for frame, line in task.iter_await_frames()]
            lines = [f"{c.co_name}:{line}" for c, line in frames if HERE in c.co_filename]
        if lines:
            self.lines.append(f"{task.name.rpartition('.')[2]} at {' > '.join(lines)}")


def steps_of(replay_text: str, scenario: Scenario) -> list[str]:
    """What every step of a replay does, and what it ends with."""
    steps = Steps()
    ended = "ends"
    try:
        run_once(scenario, deviations=deviations_of(replay_text), instruments=[steps])
    except Exception as error:
        ended = f"{type(error).__name__}: {error}"
    return [*steps.lines, ended]


def story_of(replay_text: str, scenario: Scenario) -> str:
    """The story that comes with the error of a replay; "" if nothing fails."""
    try:
        replay(replay_text, scenario)
    except Exception as error:
        return "\n".join(error.__notes__)
    return ""


def deviations_of(replay_text: str) -> tuple[tuple[int, int], ...]:
    """Those of "race1 name 3+1 0+2"."""
    pairs = (part.partition("+") for part in replay_text.split()[2:])
    return tuple((int(gap), int(option)) for gap, _, option in pairs)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def measure(name: str, replay_text: str) -> Expected:
    """What a replay comes to here."""
    broken = planted.load(name).broken
    steps = digest("\n".join(steps_of(replay_text, broken)))
    return Expected(name, replay_text, steps, digest(story_of(replay_text, broken)))


def read() -> list[Expected]:
    """The file."""
    lines = EXPECTED.read_text(encoding="utf-8").splitlines()
    rows = ([cell.strip() for cell in line.split("|")] for line in lines if line[0] != "#")
    return [Expected(*row) for row in rows]


def find_all() -> Iterable[Expected]:
    """The planted bugs, found anew."""
    from planted.finding import by_exploring

    for name in planted.NAMES:
        found = by_exploring(planted.load(name).broken)
        if found is None:
            raise SystemExit(f"{name}: not found")
        yield measure(name, str(found.schedule))


def main() -> int:
    if sys.argv[1:] == ["--write"]:
        text = "".join(f"{each}\n" for each in find_all())
        EXPECTED.write_text(HEAD + text, encoding="utf-8")
        return 0
    differ = 0
    for expected in read():
        here = measure(expected.name, expected.replay_text)
        print(here)
        if here != expected:
            differ = 1
            print(f"expected:\n{expected}", file=sys.stderr)
    return differ


if __name__ == "__main__":
    sys.exit(main())
