"""The words of `run` and `start` become a request."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from supervisor import Command
from supervisor._policy import JOB_ID
from supervisor.cli.exits import CliError, Exit
from supervisor.cli.jobs_given import Given, JobCommand, Place, job_options, request_of


@click.command("probe", cls=JobCommand)
@job_options
@click.option("--other", is_flag=True)
@click.pass_context
def probe(ctx: click.Context, **found: Any) -> None:
    ctx.obj.update(found)


def given(*words: str) -> Given:
    found: dict[str, Any] = {}
    done = CliRunner().invoke(probe, words, obj=found, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    got = found["given"]
    assert isinstance(got, Given)
    return got


@pytest.mark.parametrize(
    ("words", "argv"),
    [
        (["--", "ls", "-l"], ("ls", "-l")),
        (["--other", "--", "ls", "--", "--id", "x"], ("ls", "--", "--id", "x")),
        (["--id", "x", "--", "sh", "-c", "a=b"], ("sh", "-c", "a=b")),
        (["--", "--version"], ("--version",)),
    ],
)
def test_everything_after_the_dashes_is_the_command(words: list[str], argv: Any) -> None:
    work = request_of(given(*words), Place.EMBEDDED).work
    assert work == Command(argv)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("a=1", 1),
        ("a=1.5", 1.5),
        ("a=true", True),
        ("a=null", None),
        ("a=[1, 2]", [1, 2]),
        ('a={"b": 1}', {"b": 1}),
        ('a="1"', "1"),
        ("a=", ""),
        ("a=007", "007"),
        ("a=text = more", "text = more"),
        ("a=NaN", "NaN"),
        ("a=-Infinity", "-Infinity"),
        ("a=" + "[" * 100_000, "[" * 100_000),
        ("a=" + "9" * 10_000, "9" * 10_000),
    ],
)
def test_values_are_json_where_they_parse(word: str, value: Any) -> None:
    request = request_of(given("job", word), Place.EMBEDDED)
    assert request.work == "job"
    assert request.args == {"a": value}


def test_options_may_come_after_the_name() -> None:
    request = request_of(given("job", "a=1", "--label", "k=v=w", "--timeout", "2"), Place.THERE)
    assert request.labels == {"k": "v=w"}
    assert request.timeout == 2.0


def test_words_win_over_the_document() -> None:
    got = given("job", "--args", '{"a": 1, "b": [null]}', "a=2")
    assert request_of(got, Place.THERE).args == {"a": 2, "b": [None]}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "say what to run"),
        (["--"], "say what to run"),
        (["job", "--", "ls"], "not both"),
        (["job", "a"], "name=value"),
        (["job", "1a=2"], "name=value"),
        (["job", "a=1", "a=2"], "twice"),
        (["job", "--args", "{"], "not JSON"),
        (["job", "--args", '{"a": NaN}'], "not JSON"),
        (["job", "--args", "[" * 100_000], "not JSON"),
        (["job", "--args", "3"], "object"),
        (["job", "--cwd", "/"], "--cwd"),
        (["--args", "{}", "--", "ls"], "--args"),
        (["job", "--label", "x"], "key=value"),
        (["job", "--label", "=x"], "key=value"),
    ],
)
def test_wrong_words_say_what_would_do(words: list[str], told: str) -> None:
    with pytest.raises(CliError, match=told) as caught:
        request_of(given(*words), Place.EMBEDDED)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("words", "beginning"),
    [
        (["--", "/usr/bin/make", "-j"], "make-"),
        (["--", "./a b%c.sh"], "a-b-c.sh-"),
        (["--", "…"], "job-"),
        (["--name", "Nightly build", "--", "make"], "Nightly-build-"),
        (["job"], "job-"),
        (["--", "x" * 300], "x" * 40 + "-"),
    ],
)
def test_made_ids_tell_what_they_are_of(words: list[str], beginning: str) -> None:
    one = request_of(given(*words), Place.EMBEDDED).job_id
    other = request_of(given(*words), Place.EMBEDDED).job_id
    assert one is not None and one.startswith(beginning)
    assert JOB_ID.fullmatch(one)
    assert one != other


@pytest.mark.parametrize("place", Place)
def test_empty_id_is_refused_and_none_is_made(place: Place) -> None:
    with pytest.raises(CliError, match="--id is empty") as refused:
        request_of(given("--id", "", "--", "ls"), place)
    assert refused.value.code == Exit.USAGE


def test_command_for_a_server_of_ours_runs_where_we_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OURS", "1")
    monkeypatch.setenv("ODD", os.fsdecode(b"\xff"))
    monkeypatch.setenv("TRIO_SUPERVISOR_TOKEN", "secret")
    here = request_of(given("--cwd", "below", "--", "ls"), Place.HERE).work
    assert here.cwd == str(tmp_path / "below")
    assert here.env["OURS"] == "1"
    assert not {"TRIO_SUPERVISOR_TOKEN", "ODD"} & set(here.env)
    assert "'ODD'" in capsys.readouterr().err
    there = request_of(given("--", "ls"), Place.THERE).work
    assert (there.cwd, there.env) == (None, None)


def test_arguments_that_are_no_text_stay_here() -> None:
    odd = Given(words=("\0--", "ls", os.fsdecode(b"\xff")))
    assert request_of(odd, Place.EMBEDDED).work.argv == ("ls", "\udcff")
    with pytest.raises(CliError, match="UTF-8"):
        request_of(odd, Place.HERE)
