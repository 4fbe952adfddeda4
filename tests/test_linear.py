"""Linearizability: what can be explained is, what cannot is told with the fewest operations."""

from __future__ import annotations

import itertools
import pickle
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.testing._linear import (
    UNANSWERED,
    Model,
    NotLinearizable,
    Operation,
    SearchTooLong,
    check_linearizable,
)
from supervisor.testing.errors import BadOption, KitError

# --- models -----------------------------------------------------------------------------------


class Register:
    """`("write", value)` and `("read",)`."""

    initial = 0

    def step(self, state: int, what: tuple[Any, ...], answer: object) -> list[int]:
        match what:
            case ("write", value):
                return [value]
        return [state] if answer in (state, UNANSWERED) else []


class Queue:
    """`("put", value)` and `("get",)`, which answers None if there is nothing."""

    initial: tuple[int, ...] = ()

    def step(
        self, state: tuple[int, ...], what: tuple[Any, ...], answer: object
    ) -> Iterator[tuple[int, ...]]:
        match what:
            case ("put", value):
                yield (*state, value)
            case ("get",):
                first = state[0] if state else None
                if answer in (first, UNANSWERED):
                    yield state[1:]


class Registers(Register):
    """A register for each process."""

    def partition(self, operations: Sequence[Operation]) -> Iterable[Iterable[Operation]]:
        by_process: dict[str, list[Operation]] = {}
        for operation in operations:
            by_process.setdefault(operation.process, []).append(operation)
        return by_process.values()


def write(process: str, call: int, back: int | None, value: int) -> Operation:
    answer: object = UNANSWERED if back is None else None
    return Operation(process, call, back, ("write", value), answer)


def read(process: str, call: int, back: int, value: int) -> Operation:
    return Operation(process, call, back, ("read",), value)


def found(operations: Iterable[Operation], model: Model | None = None) -> NotLinearizable:
    with pytest.raises(NotLinearizable) as caught:
        check_linearizable(model or Register(), operations)
    return caught.value


# --- against every order there is -------------------------------------------------------------


def explains(model: Model, order: Sequence[Operation], operations: Sequence[Operation]) -> bool:
    """Whether an order is allowed by the steps and gives every answer: straight from the words."""
    missing = [each for each in operations if not any(each is done for done in order)]
    if any(each.back is not None for each in missing):
        return False
    for earlier, later in itertools.combinations(order, 2):
        if later.back is not None and later.back < earlier.call:
            return False
    states = {model.initial}
    for operation in order:
        states = {
            after
            for state in states
            for after in model.step(state, operation.what, operation.answer)
        }
    return bool(states)


def by_trying_all(model: Model, operations: Sequence[Operation]) -> bool:
    return any(
        explains(model, order, operations)
        for size in range(len(operations) + 1)
        for order in itertools.permutations(operations, size)
    )


def operations_of(whats: st.SearchStrategy[Any], answers: Any) -> st.SearchStrategy[Any]:
    @st.composite
    def operation(draw: st.DrawFn) -> Operation:
        what = draw(whats)
        call = draw(st.integers(0, 6))
        back = draw(st.one_of(st.none(), st.integers(call, 8)))
        answer = UNANSWERED if back is None else draw(answers(what))
        return Operation(draw(st.sampled_from("ab")), call, back, what, answer)

    return st.lists(operation(), max_size=5)


REGISTER_HISTORIES = operations_of(
    st.one_of(st.just(("read",)), st.tuples(st.just("write"), st.integers(0, 2))),
    lambda what: st.integers(0, 2) if what == ("read",) else st.none(),
)
QUEUE_HISTORIES = operations_of(
    st.one_of(st.just(("get",)), st.tuples(st.just("put"), st.integers(1, 2))),
    lambda what: st.sampled_from([None, 1, 2]) if what == ("get",) else st.none(),
)


def judge(model: Model, operations: Sequence[Operation]) -> None:
    """One verdict, and a reason that stands by itself."""
    expected = by_trying_all(model, operations)
    try:
        [order] = check_linearizable(model, operations)
    except NotLinearizable as error:
        assert not expected
        judge_reason(model, operations, error)
    else:
        assert expected
        assert explains(model, order, operations)


def judge_reason(model: Model, operations: Sequence[Operation], error: NotLinearizable) -> None:
    assert all(any(each is given for given in operations) for each in error.shortest)
    assert not by_trying_all(model, error.shortest)
    first_impossible = min(
        step
        for step in {each.back for each in error.shortest if each.back is not None}
        if not by_trying_all(model, until(step, error.shortest))
    )
    assert all(each.call <= first_impossible for each in error.shortest)
    assert error.stuck
    assert all(each in error.shortest for each in (*error.longest, *error.stuck))


def until(step: int, operations: Iterable[Operation]) -> list[Operation]:
    """What had been called by then; what had not been answered by then never is."""
    return [
        each if each.back is not None and each.back <= step else attrs.evolve(each, back=None)
        for each in operations
        if each.call <= step
    ]


@given(REGISTER_HISTORIES)
def test_a_register_is_judged_as_by_trying_all_orders(operations: list[Operation]) -> None:
    judge(Register(), operations)


@given(QUEUE_HISTORIES)
def test_a_queue_is_judged_as_by_trying_all_orders(operations: list[Operation]) -> None:
    judge(Queue(), operations)


# --- histories that really happened -----------------------------------------------------------


class RealQueue:
    def __init__(self) -> None:
        self.items: list[int] = []

    def do(self, what: tuple[Any, ...]) -> int | None:
        match what:
            case ("put", value):
                self.items.append(value)
                return None
        return self.items.pop(0) if self.items else None


@st.composite
def real_histories(draw: st.DrawFn) -> list[Operation]:
    """Calls of a real queue, each with some time before and after the moment that it took effect.

    Some are never answered, whether they took effect or not.
    """
    queue, history = RealQueue(), []
    for number in range(draw(st.integers(1, 10))):
        what = draw(st.one_of(st.just(("get",)), st.just(("put", number))))
        moment = 10 * number
        call, back = moment - draw(st.integers(0, 25)), moment + draw(st.integers(0, 25))
        fate = draw(st.sampled_from(["answered", "answered", "answered", "lost", "never done"]))
        answer = queue.do(what) if fate != "never done" else None
        if fate == "answered":
            history.append(Operation(f"p{number % 3}", call, back, what, answer))
        else:
            history.append(Operation(f"p{number % 3}", call, None, what))
    return draw(st.permutations(history))


@given(real_histories())
def test_what_really_happened_is_explained(history: list[Operation]) -> None:
    check_linearizable(Queue(), history)


@given(real_histories(), st.data())
def test_an_answer_that_nobody_could_give_is_found(
    history: list[Operation], data: st.DataObject
) -> None:
    gets = [each for each in history if each.what == ("get",) and each.back is not None]
    if not gets:
        return
    lie = data.draw(st.sampled_from(gets))
    told = attrs.evolve(lie, answer=999)
    changed = [told if each is lie else each for each in history]
    error = found(changed, Queue())
    assert all(any(each is given for given in changed) for each in error.shortest)


def test_a_value_that_is_got_twice_is_found() -> None:
    history = [
        Operation("a", 0, 5, ("put", 1), None),
        Operation("b", 1, 8, ("put", 2), None),
        Operation("a", 6, 9, ("get",), 1),
        Operation("b", 10, 12, ("get",), 2),
        Operation("c", 11, 20, ("get",), 1),
    ]
    assert history[4] in found(history, Queue()).shortest
    history[4] = attrs.evolve(history[4], answer=None)
    check_linearizable(Queue(), history)


# --- what may be in any order, and what may not ------------------------------------------------


def test_an_empty_history_is_explained() -> None:
    assert check_linearizable(Register(), []) == ((),)


def test_of_two_that_overlap_either_may_be_first() -> None:
    check_linearizable(Register(), [write("a", 0, 3, 1), read("b", 1, 2, 0)])
    check_linearizable(Register(), [write("a", 0, 3, 1), read("b", 1, 2, 1)])


def test_one_that_was_answered_earlier_is_first() -> None:
    found([write("a", 0, 1, 1), read("b", 2, 3, 0)])


def test_a_call_at_the_step_of_an_answer_overlaps_it() -> None:
    check_linearizable(Register(), [write("a", 0, 1, 1), read("b", 1, 3, 0)])


def test_one_that_was_never_answered_may_take_effect_late_or_not_at_all() -> None:
    lost = write("a", 0, None, 1)
    early, late = read("b", 1, 2, 0), read("b", 8, 9, 1)
    assert check_linearizable(Register(), [lost, early]) == ((early,),)
    assert check_linearizable(Register(), [lost, early, late]) == ((early, lost, late),)
    found([late, lost, read("b", 10, 11, 0)])
    found([attrs.evolve(lost, call=3), read("b", 1, 2, 1)])


def test_a_model_may_not_know_which_state_follows() -> None:
    class Coin:
        initial = "new"

        def step(self, state: str, what: str, answer: object) -> tuple[str, ...]:
            if what == "throw":
                return ("heads", "tails")
            return (state,) if answer == state else ()

    thrown = Operation("a", 0, 1, "throw", None)
    for side in ("heads", "tails"):
        looks = [Operation("b", at, at + 1, "look", side) for at in (2, 4)]
        check_linearizable(Coin(), [thrown, *looks])
    looks[1] = attrs.evolve(looks[1], answer="heads")
    error = found([thrown, *looks], Coin())
    assert error.shortest == (thrown, *looks)
    assert "then the state is 'tails', which does not allow\n  b: look -> 'heads'" in str(error)


def test_parts_are_judged_each_by_itself() -> None:
    mine, yours = read("a", 2, 3, 0), read("b", 2, 3, 5)
    history = [write("b", 0, 1, 5), mine, yours]
    assert check_linearizable(Registers(), history) == ((history[0], yours), (mine,))
    found(history)
    error = found([*history, read("a", 4, 5, 5)], Registers())
    assert error.shortest == (read("a", 4, 5, 5),)


# --- the shortest history ---------------------------------------------------------------------


def test_the_write_that_makes_a_read_stale_is_kept() -> None:
    first, second, stale = write("a", 0, 1, 1), write("a", 2, 3, 2), read("b", 10, 11, 1)
    noise = [read("c", at, at + 2, 2) for at in range(4, 9)]
    later = [write("c", 12, 13, 9), read("c", 14, 15, 9)]
    error = found([first, second, *noise, stale, *later])
    assert error.shortest == (first, second, stale)
    assert error.longest == (first, second)
    assert error.stuck == (stale,)


def test_a_value_from_nowhere_needs_no_company() -> None:
    others = [write("a", at, at + 3, at) for at in range(8)]
    nowhere = read("b", 4, 5, 77)
    error = found([*others, nowhere])
    assert error.shortest == (nowhere,)
    assert "no order of this operation (of 9 in the history) explains every answer" in str(error)


def test_of_a_long_history_little_is_left() -> None:
    history = []
    for number in range(150):
        history.append(write("a", 3 * number, 3 * number + 4, number))
        history.append(read("b", 3 * number + 1, 3 * number + 2, number))
    check_linearizable(Register(), history)
    stale = history[201] = attrs.evolve(history[201], answer=7)
    error = found(history)
    assert history[14] in error.shortest and stale in error.shortest
    assert len(error.shortest) == 3


def test_the_message_is_a_timeline() -> None:
    history = [
        write("alice", 10, 13, 1),
        write("bob", 11, None, 2),
        read("carol", 12, 14, 2),
        read("alice", 15, 30, 1),
        read("carol", 31, 32, 2),
    ]
    assert str(found(history)) == (
        "no order of these 5 operations explains every answer:\n"
        "\n"
        "  step   10 11 12 13 14 15 30 31 32\n"
        "  alice  |--------|                      ('write', 1) -> None\n"
        "  bob       |-----------------------...  ('write', 2), never answered\n"
        "  carol        |-----|                   ('read',) -> 2\n"
        "  alice                 |--|             ('read',) -> 1\n"
        "  carol                       |--|       ('read',) -> 2\n"
        "\n"
        "the longest order that can be explained:\n"
        "  bob: ('write', 2), never answered\n"
        "  carol: ('read',) -> 2\n"
        "  alice: ('write', 1) -> None\n"
        "  alice: ('read',) -> 1\n"
        "\n"
        "then the state is 1, which does not allow\n"
        "  carol: ('read',) -> 2"
    )


def test_what_was_answered_after_the_impossible_is_shown_as_open() -> None:
    history = [
        Operation("a", 0, 9, ("put", 1), None),
        Operation("b", 1, 2, ("get",), 1),
        Operation("c", 3, 4, ("get",), 1),
    ]
    error = found(history, Queue())
    assert error.shortest == tuple(history)
    assert str(error).splitlines()[2:6] == [
        "  step  0 1 2 3 4",
        "  a     |---------...  ('put', 1) -> None, later",
        "  b       |-|          ('get',) -> 1",
        "  c           |-|      ('get',) -> 1",
    ]


def test_a_long_timeline_tells_steps_in_numbers_and_not_all_of_them() -> None:
    puts = [Operation("a", 1000 * n, 1000 * n + 5, ("put", n), None) for n in range(50)]
    gets = [Operation("b", 100_000 + n, 100_000 + n, ("get",), n) for n in range(49)]
    last = Operation("b", 200_000, 200_001, ("get",), 48)
    message = str(found([*puts, *gets, last], Queue()))
    assert "b     200000 to 200001" in message
    assert len(message.splitlines()) < 100


def test_the_error_survives_pickling() -> None:
    error = found([write("a", 0, 1, 1), read("b", 2, 3, 0)])
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.shortest, again.longest, again.stuck) == (
        str(error),
        error.shortest,
        error.longest,
        error.stuck,
    )
    assert pickle.loads(pickle.dumps(UNANSWERED)) is UNANSWERED


# --- how long it takes ------------------------------------------------------------------------


def test_a_very_long_history_is_no_deep_recursion() -> None:
    history = [write("a", 2 * n, 2 * n + 1, n) for n in range(3 * sys.getrecursionlimit())]
    [order] = check_linearizable(Register(), history)
    assert list(order) == history


def test_the_same_state_after_the_same_operations_is_looked_at_once() -> None:
    """Without this there are 12! orders to try."""
    history = [write("a", 0, 100, 1) for _ in range(12)]
    found([*history, read("b", 200, 201, 2)])


def test_a_search_that_takes_too_long_is_given_up() -> None:
    history = [write(f"p{n}", 0, 100, n) for n in range(20)]
    with pytest.raises(SearchTooLong, match=r"partition.*max_tries") as caught:
        check_linearizable(Register(), [*history, read("b", 200, 201, 99)], max_tries=5000)
    assert "5,000 tries were not enough to judge 21 operations" in str(caught.value)
    assert isinstance(caught.value, KitError)


@pytest.mark.parametrize("tries", [0, -1, 2.5, True, None, "many"])
def test_how_often_to_try_is_a_number(tries: Any) -> None:
    with pytest.raises(BadOption, match="max_tries"):
        check_linearizable(Register(), [], max_tries=tries)


# --- what cannot be used ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"process": 1}, TypeError, "process is the name"),
        ({"call": "1"}, TypeError, "call is the number of the step"),
        ({"call": 1.0}, TypeError, "call is the number"),
        ({"call": True}, TypeError, "call is the number"),
        ({"back": "2"}, TypeError, "back is the number"),
        ({"back": 0}, ValueError, "answered at step 0, before it was called at step 1"),
        ({"back": 2, "answer": UNANSWERED}, ValueError, "answered at step 2, but not with what"),
    ],
)
def test_an_operation_that_cannot_be(
    fields: dict[str, Any], error: type[Exception], words: str
) -> None:
    good = {"process": "a", "call": 1, "back": 2, "what": "read", "answer": 0}
    Operation(**good)
    with pytest.raises(error, match=words):
        Operation(**{**good, **fields})


@pytest.mark.parametrize(
    ("operations", "words"),
    [
        (7, "operations is a list of Operation, not 7"),
        ([("a", 1, 2)], r"operations\[0\] is \('a', 1, 2\), not an Operation"),
        ([write("a", 0, 1, 1), None], r"operations\[1\] is None"),
    ],
)
def test_what_is_no_history(operations: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        check_linearizable(Register(), operations)


def model_of(step: Any, initial: Any = 0) -> Any:
    return type("Odd", (), {"initial": initial, "step": staticmethod(step)})()


async def async_step(state: object, what: object, answer: object) -> list[object]:
    return [state]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Register, r"the model is a class; pass an object of it: Register\(\)"),
        (object(), "it has no method `step"),
        (type("NoInitial", (), {"step": Register.step})(), "it has no `initial`"),
        (model_of(lambda *_: None), "gives the possible next states .* this one gave None"),
        (model_of(lambda *_: 1), "gives the possible next states .* this one gave 1"),
        (model_of(lambda *_: "ab"), "gives the possible next states .* this one gave 'ab'"),
        (model_of(lambda *_: [[1]]), r"the state \[1\] is not hashable"),
        (model_of(lambda *_: [0], initial=[]), r"the state \[\] is not hashable"),
        (model_of(async_step), "is a plain function, and this one gave a coroutine"),
    ],
)
def test_what_is_no_model(model: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        check_linearizable(model, [read("a", 0, 1, 0)])


def test_what_a_model_raises_says_where() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        check_linearizable(model_of(lambda *_: 1 // 0), [read("a", 0, 1, 0)])
    assert caught.value.__notes__ == ["in model.step(0, ('read',), 0)"]


@pytest.mark.parametrize(
    ("partition", "words"),
    [
        (lambda operations: [operations[:1]], "left out 1 operations, such as Operation"),
        (lambda operations: [operations, operations[:1]], "is in another part already"),
        (lambda operations: [operations, ["odd"]], "gave 'odd', which is not an operation"),
    ],
)
def test_a_partition_holds_each_operation_once(partition: Any, words: str) -> None:
    model = Register()
    model.partition = partition  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=words):
        check_linearizable(model, [write("a", 0, 1, 1), read("a", 2, 3, 1)])


def test_an_operation_that_is_there_twice_is_two() -> None:
    once = Operation("a", 0, 9, ("put", 1), None)
    gets = [Operation("b", at, at + 1, ("get",), 1) for at in (10, 12)]
    check_linearizable(Queue(), [once, once, *gets])
    found([once, *gets], Queue())


def test_it_is_imported_without_the_tools_of_tests() -> None:
    script = (
        "import sys; sys.modules['hypothesis'] = sys.modules['pytest'] = None\n"
        "import supervisor.testing._linear, supervisor.testing._conformance"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
