"""`events`: a position is taken to the history that it was read in."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio

from supervisor import JobFilter, JobPage, ReplayGone, Supervisor, open_supervisor
from supervisor.cli import events


class Replaced:
    """A server that is replaced between a look at its list and a watch."""

    def __init__(self, now: Supervisor) -> None:
        self.now = now
        self.watch = now.watch

    async def list(self, **_: Any) -> JobPage:
        await trio.lowlevel.checkpoint()
        return JobPage((), "another", self.now.head_seq)


WANTED = events.Wanted(since=None, now=False, filter=JobFilter(), logs=False, progress=False)


@pytest.mark.parametrize("show", [events._past, events._follow])
@pytest.mark.parametrize("since", [None, 1])
def test_position_of_another_history_is_told_and_not_misread(show: Any, since: int | None) -> None:
    gone = pytest.RaisesExc(ReplayGone, match="counts in the history")

    async def main() -> None:
        async with open_supervisor() as sup:
            await (await sup.start(trio.lowlevel.checkpoint)).wait()
            client: Any = Replaced(sup)
            with trio.fail_after(10), pytest.RaisesGroup(gone):
                await show(client, attrs.evolve(WANTED, since=since), as_json=True)

    trio.run(main)
