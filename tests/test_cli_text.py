"""Words for people: nothing of a job's text reaches the terminal as a command."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cli_records import NOW, job
from hypothesis import given
from hypothesis import strategies as st

from supervisor import Certificate, Job, JobErrorInfo, JobState
from supervisor._model import CancelRequest, Cause, How, Proof, Strength
from supervisor.cli.output import to_json
from supervisor.cli.text import (
    age,
    clean,
    count_of,
    describe_end,
    milliseconds,
    one_line,
    own_places,
    seconds,
    strength_of,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢 🎉\ttab\nline", "plain é 漢 🎉\ttab\nline"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x9b31mred", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq#0\x1b\\sixel", "sixel"),
        ("\x1b(0line", "line"),
        ("\x1bcreset", "reset"),
        ("half\x1b[", "half"),
        ("half\x1b", "half"),
        ("over\rwritten\x08\x7f", "overwritten"),
        ("\u202eevil\u2066", "evil"),
        ("\ud800lone", "lone"),
        ("[bold]not markup[/bold]", "[bold]not markup[/bold]"),
    ],
)
def test_clean(text: str, shown: str) -> None:
    assert clean(text) == shown


@given(st.text(st.characters()))
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    left = set(clean(text))
    assert not left & {chr(n) for n in (*range(32), *range(127, 160))} - {"\t", "\n"}
    clean(text).encode()


@given(st.text(st.characters()))
def test_json_holds_no_control_character_and_loses_nothing(text: str) -> None:
    import json

    written = to_json({"text": text})
    assert json.loads(written) == {"text": text}
    assert not set(written) & {chr(n) for n in (*range(32), *range(127, 160))}
    written.encode()


def test_one_line_is_one_line_and_bounded() -> None:
    assert one_line("a\n  b\tc") == "a b c"
    assert one_line("x" * 300) == "x" * 199 + "…"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 ms"),
        (0.0123, "12 ms"),
        (1.25, "1.2 s"),
        (61, "1 min 1 s"),
        (3 * 3600 + 120, "3 h 2 min"),
        (3 * 86400 + 3600, "3 d 1 h"),
    ],
)
def test_seconds(value: float, shown: str) -> None:
    assert seconds(value) == shown


def test_plurals() -> None:
    assert [count_of(n, "line") for n in (0, 1, 2)] == ["0 lines", "1 line", "2 lines"]


def test_frames_of_trio_are_not_where_a_job_hangs() -> None:
    own = "inner (/home/me/trio/app.py:6)"
    theirs = "sleep (/venv/lib/python3.11/site-packages/trio/_timeouts.py:71)"
    assert own_places([own, theirs]) == (own,)
    assert own_places([theirs, theirs]) == (theirs,)
    assert own_places([]) == ()


def test_strength_of_a_proof() -> None:
    assert strength_of("cgroup_empty (certain)") == "certain"
    assert strength_of("") == ""


def test_age_of_what_comes_from_a_clock_ahead_of_ours_is_not_negative() -> None:
    assert age(NOW + timedelta(seconds=5), NOW) == "0 ms ago"
    assert age(NOW - timedelta(seconds=5), NOW) == "5.0 s ago"
    assert milliseconds(0.0123) == "12.3 ms"


CERTIFICATE = Certificate(
    first_request=CancelRequest(requester="local", cause=Cause.USER, at=NOW, grace=1.0),
    how=How.FORCED,
    request_to_dead=1.5,
    proof=Proof("process_group_gone", Strength.BEST_EFFORT),
)


@pytest.mark.parametrize(
    ("ended", "shown"),
    [
        (job(JobState.SUCCEEDED), "succeeded"),
        (job(JobState.FAILED, exit_code=3), "failed: exit code 3"),
        (job(JobState.FAILED, signal=9), "failed: ended by signal 9"),
        (
            job(JobState.FAILED, error=JobErrorInfo(type="E", message="a\x1b[31m\nb")),
            "failed: E: a b",
        ),
        (job(JobState.TIMED_OUT, timeout=2.0), "timed out after 2 s"),
        (
            job(
                JobState.CANCELLED, cause=Cause.USER, reason="no\x07 more", certificate=CERTIFICATE
            ),
            "cancelled by user: no more (forced, dead 1.5 s after the request; "
            "proof: process_group_gone (best_effort))",
        ),
    ],
)
def test_describe_end(ended: Job, shown: str) -> None:
    assert describe_end(ended) == shown
