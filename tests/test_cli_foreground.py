"""What a run in the foreground says of its job."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
import trio

from supervisor import JobEvent, JobRequest, JobState, LogsLagged, open_supervisor
from supervisor.cli.foreground import Foreground
from supervisor.cli.streams import Streams


class Written(io.TextIOWrapper):
    """A stream that keeps what is written."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)

    def text(self) -> str:
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().decode()


def said(*items: JobEvent | LogsLagged, as_json: bool = False, **set_to: bool) -> tuple[str, str]:
    """What comes out, on stdout and on stderr."""
    out, err = Written(), Written()
    control: Any = None
    run = Foreground(control, JobRequest("x", job_id="j1"), as_json=as_json)
    run._streams = Streams(out, err)
    for name, value in set_to.items():
        setattr(run, f"_{name}", value)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run._streams.serve)
            for item in items:
                if isinstance(item, JobEvent):
                    run.event(item)
                else:
                    run.lost(item)
            await run._streams.drained()
            nursery.cancel_scope.cancel("all of it is written")

    trio.run(main)
    return out.text(), err.text()


def event(type: str, **data: Any) -> JobEvent:
    return JobEvent(
        instance="i", seq=1, time=datetime(2026, 1, 2, tzinfo=UTC), type=type, job_id="j1",
        attempt=1, state=JobState.CANCELLING, data=data,
    )  # fmt: skip


def test_lost_lines_are_told() -> None:
    out, err = said(LogsLagged(job_id="j1", from_n=3, to_n=3))
    assert out == ""
    assert "1 line of output came too fast" in err
    assert "2 lines of output" in said(LogsLagged(job_id="j1", from_n=3, to_n=4))[1]


def test_lost_lines_are_an_item_of_the_json_lines() -> None:
    out, err = said(LogsLagged(job_id="j1", from_n=3, to_n=9), as_json=True)
    assert json.loads(out) == {
        "method": "events.lagged", "params": {"job_id": "j1", "from_n": 3, "to_n": 9},
    }  # fmt: skip
    assert "7 lines of output" in err


def test_kill_is_announced_unless_we_asked_for_it_or_nothing_can_be_killed() -> None:
    killed = event("job.escalated", rung="force")
    assert "does not leave; killing it" in said(killed)[1]
    assert said(killed, forced=True) == ("", "")
    assert said(killed, can_force=False) == ("", "")
    assert said(event("job.escalated", rung="verify")) == ("", "")
    assert said(event("job.cancelling", rung="force")) == ("", "")


@pytest.mark.parametrize("trio_too", [True, False])
def test_stuck_job_hangs_where_its_own_code_is(trio_too: bool) -> None:
    theirs = ["sleep (/venv/lib/python3.11/site-packages/trio/_timeouts.py:71)"] * trio_too
    err = said(event("job.stuck", why="does not leave", where=["stay (app.py:9)", *theirs]))[1]
    assert err == (
        "trio-supervisor: job j1 is stuck: does not leave; alive: stay (app.py:9)\n"
    )


def test_events_of_a_job_that_ends_at_once_are_told_all_the_same(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    async def quick() -> None:
        await trio.lowlevel.checkpoint()

    class NoStops:
        count, code = 0, None

        async def __aiter__(self) -> AsyncIterator[int]:
            await trio.sleep_forever()
            yield 0

    class Slow:
        """Answers a start when the job has ended."""

        def __init__(self, sup: Any) -> None:
            self._sup = sup

        def __getattr__(self, name: str) -> Any:
            return getattr(self._sup, name)

        async def start(self, *args: Any, **options: Any) -> Any:
            handle = await self._sup.start(*args, **options)
            await handle.wait()
            return handle

    async def main() -> int:
        async with open_supervisor() as sup:
            control: Any = Slow(sup)
            stops: Any = NoStops()
            return await Foreground(control, JobRequest(quick, job_id="j1"), as_json=True).run(
                stops
            )

    assert trio.run(main) == 0
    lines = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    types = [line["params"]["type"] for line in lines if "params" in line]
    assert types == ["job.starting", "job.started", "job.finished"]
