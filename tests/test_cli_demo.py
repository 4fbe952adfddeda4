"""The demo tells the truth: also when something survives, or ends otherwise than it should."""

from __future__ import annotations

import json
import sys

import attrs
import pytest
import trio

from supervisor import JobState
from supervisor.cli import demo_jobs, demo_run
from supervisor.cli.demo_jobs import Case
from supervisor.cli.survivors import Seen, processes_with


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (demo_jobs, demo_run):
        monkeypatch.setattr(module, "MANY", 20)


def demo(as_json: bool = False) -> int:
    return trio.run(demo_run.run_demo, as_json, "process_group")


def test_without_cgroups_it_says_what_it_leaves_out_and_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert demo() == 0
    out, err = capsys.readouterr()
    rows = [line.split("\t") for line in out.splitlines()]
    assert "left out: daemons that clear their environment" in err
    assert "process groups were asked for" in err
    assert ["sh, daemon", "cancelled", "cooperative"] in [row[:3] for row in rows]
    assert any(row[-1] == "process_group_gone (best_effort)" for row in rows)
    assert rows[-1] == ["survivors, by a look at all processes: 0"]


def test_survivor_is_named_and_exits_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def one_stays(marker: str) -> list[Seen]:
        return [*processes_with(marker), Seen(4711, f"sleep {marker}")]

    monkeypatch.setattr(demo_run, "processes_with", one_stays)
    assert demo() == 1
    *_, named, last = capsys.readouterr().out.splitlines()
    assert named.startswith("alive: pid 4711: sleep")
    assert last == "survivors, by a look at all processes: 1"


def test_job_that_ends_otherwise_exits_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def one_wrong(*args: object, **options: object) -> list[Case]:
        first, *rest = demo_jobs.cases(*args, **options)  # type: ignore[arg-type]
        return [attrs.evolve(first, state=JobState.FAILED), *rest]

    def cases(*args: object, **options: object) -> object:
        return iter(one_wrong(*args, **options))

    monkeypatch.setattr(demo_run, "cases", cases)
    assert demo(as_json=True) == 1
    told = json.loads(capsys.readouterr().out)
    assert [row["job"] for row in told["jobs"] if not row["ok"]] == ["ends by itself"]
    assert told["survivors"] == []


def test_look_that_sees_nothing_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo_run, "processes_with", lambda _: [])
    monkeypatch.setattr(demo_run, "SECONDS", 1.0)
    assert demo() == 1
    assert "proves nothing" in capsys.readouterr().err


def test_look_finds_what_is_alive() -> None:
    import subprocess

    marker = demo_jobs.new_marker()
    assert processes_with(marker) == []
    waiting = [sys.executable, "-c", "print(flush=True); input()", marker]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        waiting, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # its command line stands only once it runs
        assert [seen.pid for seen in processes_with(marker)] == [process.pid]
    assert processes_with(marker) == []
