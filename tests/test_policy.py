"""Ids that exist already: both policies, cell by cell."""

from __future__ import annotations

import pytest
from fakes import make_spec

from supervisor._model import FINAL_STATES, ConflictPolicy, JobState, ReusePolicy
from supervisor._policy import JOB_ID, IdDecision, decide_conflict, decide_reuse, same_request


@pytest.mark.parametrize(
    ("policy", "same", "decision"),
    [
        ("use_existing", True, "USE_EXISTING"),
        ("use_existing", False, "CONFLICT"),
        ("fail", True, "CONFLICT"),
        ("fail", False, "CONFLICT"),
        ("replace", True, "REPLACE"),
        ("replace", False, "REPLACE"),
    ],
)
def test_while_it_lives(policy: str, same: bool, decision: str) -> None:
    assert decide_conflict(ConflictPolicy(policy), same=same) is IdDecision[decision]


@pytest.mark.parametrize("ended", sorted(FINAL_STATES))
@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("policy", ReusePolicy)
def test_after_it_ended(policy: ReusePolicy, same: bool, ended: JobState) -> None:
    expected = {
        "use_existing": IdDecision.USE_EXISTING if same else IdDecision.CONFLICT,
        "allow": IdDecision.NEXT_ATTEMPT,
        "allow_failed_only": (
            IdDecision.CONFLICT if ended == "succeeded" else IdDecision.NEXT_ATTEMPT
        ),
        "reject": IdDecision.CONFLICT,
    }
    assert decide_reuse(policy, ended, same=same) is expected[policy]


def test_the_defaults_are_use_existing() -> None:
    assert ConflictPolicy("use_existing")
    assert ReusePolicy("use_existing")


class Broken:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]


class Ambiguous:
    """Compares like an array: the answer has no truth value."""

    def __eq__(self, other: object) -> object:  # type: ignore[override]
        class Answer:
            def __bool__(self) -> bool:
                raise ValueError

        return Answer()

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("f", (1,)), ("f", (1,)), True),
        (("f", (1,)), ("f", (2,)), False),
        (("f", {"a": 1}), ("f", {"a": 1}), True),
        (Broken(), Broken(), False),
        (Ambiguous(), Ambiguous(), False),
        (("f", Ambiguous()), ("f", Ambiguous()), False),
    ],
    ids=repr,
)
def test_what_is_the_same_request(one: object, other: object, same: bool) -> None:
    assert same_request(make_spec(identity=one), make_spec(identity=other)) is same


def _work() -> None: ...


@pytest.mark.parametrize(
    ("work", "arguments", "same"),
    [
        (_work, (1,), True),
        (_work, (2,), False),
        (print, (1,), False),
        (_work, (Broken(),), False),
        (_work, (), False),
    ],
    ids=repr,
)
def test_callables_are_the_same_by_identity_and_arguments(
    work: object, arguments: tuple[object, ...], same: bool
) -> None:
    one = make_spec(identity=None, work=_work, arguments=(1,))
    assert same_request(one, make_spec(identity=None, work=work, arguments=arguments)) is same


def test_a_name_and_a_callable_are_never_the_same() -> None:
    named = make_spec(identity=("work", {}), work=_work)
    called = make_spec(identity=None, work=_work)
    assert not same_request(named, called)
    assert not same_request(called, named)


@pytest.mark.parametrize("job_id", ["a", "0", "A.b_c:d-e", "x" * 128])
def test_ids_that_are_allowed(job_id: str) -> None:
    assert JOB_ID.fullmatch(job_id)


@pytest.mark.parametrize("job_id", ["", "-a", ".a", "a b", "ä", "a\n", "x" * 129, "a/b", "\u0661"])
def test_ids_that_are_not(job_id: str) -> None:
    assert not JOB_ID.fullmatch(job_id)
