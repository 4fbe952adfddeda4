"""The search visits every schedule within its bound once, fewest preemptions first; shrinking."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.testing._schedules import text
from supervisor.testing._schedules.choosing import ByDeviations, Recorder
from supervisor.testing._schedules.priorities import ByPriorities, guarantee
from supervisor.testing._schedules.search import Answer, Child, Found, search
from supervisor.testing._schedules.shrink import shrink

# A fake scenario: how many options there are at each choice point, given the options taken before.
Tree = Callable[[Sequence[int]], int]


def run_in(tree: Tree, child: Child) -> tuple[list[int], list[int]]:
    """What was taken at each choice point under a schedule, and how many options each had."""
    taken: list[int] = []
    counts: list[int] = []
    chooser = ByDeviations(child)
    while (count := tree(taken)) > 1:
        counts.append(count)
        taken.append(chooser.choose([None] * count, False))  # type: ignore[list-item]
    return taken, counts


def explored(
    tree: Tree, preemptions: int, max_runs: int = 10_000, bad: Sequence[int] | None = None
) -> tuple[Found, list[tuple[int, ...]]]:
    """How the search ended, and the runs that it made, in their order."""
    seen: list[tuple[int, ...]] = []

    def run_all(children: Iterable[Child]) -> Iterator[Answer]:
        for child in children:
            taken, counts = run_in(tree, child)
            seen.append(tuple(taken))
            yield child, None if taken == bad else counts

    return search(run_all, preemptions=preemptions, max_runs=max_runs), seen


def three_choices_of_three(taken: Sequence[int]) -> int:
    return 3 if len(taken) < 3 else 0


def longer_after_a_preemption(taken: Sequence[int]) -> int:
    return 2 if len(taken) < 3 + sum(taken) else 0


@pytest.mark.parametrize("preemptions", range(4))
def test_every_schedule_within_the_bound_is_run_once(preemptions: int) -> None:
    found, seen = explored(three_choices_of_three, preemptions)
    wanted = {
        run for run in product(range(3), repeat=3) if sum(map(bool, run)) <= preemptions
    }
    assert found == Found(len(wanted), None, True, 3)
    assert len(seen) == len(set(seen))
    assert set(seen) == wanted


def test_the_choice_points_after_a_preemption_are_those_of_its_own_run() -> None:
    _, seen = explored(longer_after_a_preemption, 2)
    assert {len(run) for run in seen} == {3, 4, 5}
    assert (0, 0, 0) in seen
    assert (0, 0, 1, 1, 0) in seen


def test_there_may_be_many_options() -> None:
    found, seen = explored(lambda taken: 300 if not taken else 0, 1)
    assert found == Found(300, None, True, 1)
    assert {run for (run,) in seen} == set(range(300))


def test_few_preemptions_come_first() -> None:
    _, seen = explored(three_choices_of_three, 3)
    counts = [sum(map(bool, run)) for run in seen]
    assert counts == sorted(counts)


def test_it_ends_with_the_first_failure() -> None:
    found, seen = explored(three_choices_of_three, 3, bad=[0, 2, 0])
    assert found.failing == ((1, 2),)
    assert found.runs == len(seen)
    assert not found.exhausted
    assert seen[-1] == (0, 2, 0)


@pytest.mark.parametrize(("max_runs", "exhausted"), [(26, False), (27, True), (28, True)])
def test_it_ends_when_it_has_run_enough(max_runs: int, exhausted: bool) -> None:
    found, seen = explored(three_choices_of_three, 3, max_runs)
    assert found.exhausted is exhausted
    assert len(seen) == min(max_runs, 27)


# --- shrinking ----------------------------------------------------------------------------------

DEVIATIONS = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 4)), max_size=6).map(tuple)


def places(deviations: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Each deviation by its choice point instead of its gap."""
    at = -1
    found = []
    for gap, option in deviations:
        at += gap + 1
        found.append((at, option))
    return found


@given(DEVIATIONS, st.data())
def test_only_what_matters_is_left(
    deviations: tuple[tuple[int, int], ...], data: st.DataObject
) -> None:
    there = places(deviations)
    needed = data.draw(st.lists(st.sampled_from(there), max_size=2)) if there else []

    def fails(tried: tuple[tuple[int, int], ...]) -> bool:
        return set(needed) <= set(places(tried))

    small = shrink(deviations, fails, 10_000)
    assert fails(small)
    assert set(places(small)) == set(needed)


def test_shrinking_lowers_what_need_not_be_so_high() -> None:
    def fails(tried: Sequence[tuple[int, int]]) -> bool:
        return any(place >= 3 and option >= 2 for place, option in places(tried))

    assert shrink(((17, 4),), fails, 1000) in (((3, 4),), ((3, 2),))


def test_shrinking_keeps_to_its_budget() -> None:
    asked = 0

    def fails(tried: object) -> bool:
        nonlocal asked
        asked += 1
        return True

    shrink(tuple((50, 3) for _ in range(6)), fails, 2)
    assert asked == 2


# --- choosers -----------------------------------------------------------------------------------


@given(DEVIATIONS)
def test_a_recorder_writes_down_what_was_chosen(deviations: tuple[tuple[int, int], ...]) -> None:
    recorder = Recorder(ByDeviations(deviations))
    for _ in range(200):
        recorder.choose([None] * 5, False)  # type: ignore[list-item]
    assert recorder.deviations == deviations


def test_an_option_that_is_not_there_is_noted_and_not_taken() -> None:
    chooser = ByDeviations(((0, 1), (0, 4)))
    assert [chooser.choose([None] * 3, False) for _ in range(3)] == [1, 0, 0]  # type: ignore[list-item]
    assert chooser.missing == 2
    wrapping = ByDeviations(((0, 4),), wrap=True)
    assert wrapping.choose([None] * 3, False) == 2  # type: ignore[list-item]
    assert wrapping.missing is None


def test_what_a_run_did_not_come_to_is_unmet() -> None:
    chooser = ByDeviations(((0, 1), (5, 1)))
    for _ in range(3):
        chooser.choose([None] * 2, False)  # type: ignore[list-item]
    assert chooser.unmet == [(5, 1)]


def test_the_guarantee_is_that_of_the_paper() -> None:
    assert guarantee(2, 10, 1) == 0.5
    assert guarantee(4, 10, 3) == 1 / 400


def test_time_that_went_first_goes_last_next() -> None:
    class Named:
        _counter = 1

    task: object = Named()
    firsts = [ByPriorities(str(seed), 1, 10) for seed in range(50)]
    chosen = [[each.choose([task], True) for _ in range(3)] for each in firsts]  # type: ignore[list-item]
    assert {tuple(each) for each in chosen} == {(0, 0, 0), (1, 0, 0)}


# --- replay texts -------------------------------------------------------------------------------


@given(st.none() | st.from_regex(r"[A-Za-z_][A-Za-z_.0-9]{0,20}", fullmatch=True), DEVIATIONS)
def test_a_replay_text_is_read_as_it_was_written(
    name: str | None, deviations: tuple[tuple[int, int], ...]
) -> None:
    assert text.read(text.write(name, deviations)) == (name, deviations)
