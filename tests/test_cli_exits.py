"""Exit codes are those that the documentation promises."""

from __future__ import annotations

import pytest
from cli_records import job

import supervisor
from supervisor import JobState
from supervisor._errors import InvalidArguments, SupervisorError, Unauthenticated
from supervisor.cli.exits import CliError, code_of_job, explain, single

CODES = {
    "job_not_found": 4,
    "unauthenticated": 77,
    "forbidden": 77,
    "connection_lost": 69,
    "shutting_down": 69,
    "overloaded": 69,
    "replay_gone": 69,
    "version_not_supported": 69,
    "protocol_error": 69,
    "invalid_params": 2,
    "unknown_job_name": 2,
    "job_id_conflict": 2,
    "unsupported": 2,
    "request_cancelled": 1,
    "launch_error": 1,
    "internal_error": 1,
}


def every_error() -> list[type[SupervisorError]]:
    found = [SupervisorError]
    for cls in found:
        found.extend(cls.__subclasses__())
    return [cls for cls in found if cls.__module__ == "supervisor._errors"]


@pytest.mark.parametrize("cls", every_error())
def test_code_of_every_error(cls: type[SupervisorError]) -> None:
    told = explain(cls("what was wrong"))
    assert told is not None
    assert told.code == CODES[cls.kind]
    hint = "; use --token-file or TRIO_SUPERVISOR_TOKEN" if cls is Unauthenticated else ""
    assert str(told) == f"what was wrong{hint}"


def test_wrong_token_is_told_with_where_to_give_another() -> None:
    hint = "use --token-file or TRIO_SUPERVISOR_TOKEN"
    assert str(explain(Unauthenticated("Not known here."))) == f"Not known here; {hint}"
    told = explain(InvalidArguments("must be ASCII", path="$.token"))
    assert told is not None and (told.code, str(told)) == (2, f"must be ASCII; {hint}")
    assert str(explain(InvalidArguments("no", path="$.id"))) == "no"


def test_faults_of_ours_are_not_explained_away() -> None:
    assert explain(AssertionError()) is None


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (JobState.SUCCEEDED, 0),
        (JobState.FAILED, 1),
        (JobState.TIMED_OUT, 1),
        (JobState.CANCELLED, 3),
    ],
)
def test_code_of_a_job(state: JobState, code: int) -> None:
    assert code_of_job(job(state)) == code


def test_what_a_group_is_about() -> None:
    users, ours, interrupt = supervisor.JobNotFound("x"), ValueError(), KeyboardInterrupt()
    assert single(users) is users
    assert single(ExceptionGroup("g", [ExceptionGroup("h", [users])])) is users
    assert single(ExceptionGroup("g", [users, ours])) is ours
    assert single(BaseExceptionGroup("g", [users, ours, interrupt])) is interrupt


def test_what_is_told_already_is_told_as_it_is() -> None:
    told = CliError("x", 5)
    assert explain(told) is told
