"""What exists is set aside for a large walk, and always put back."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from supervisor._collector import FEW, LARGE, set_aside


def is_frozen() -> bool:
    return gc.get_freeze_count() > FEW


@pytest.fixture(autouse=True)
def nothing_stays_frozen() -> Iterator[None]:
    assert not is_frozen()
    yield
    gc.unfreeze()


def test_a_small_walk_leaves_the_collector_alone() -> None:
    with set_aside(LARGE - 1):
        assert not is_frozen()


def test_a_large_walk_sets_aside_what_there_is_and_puts_it_back() -> None:
    with set_aside(LARGE):
        assert is_frozen()
    assert not is_frozen()


def test_it_is_put_back_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), set_aside(LARGE):
        1 / 0  # noqa: B018
    assert not is_frozen()


def test_of_two_walks_the_last_one_puts_it_back() -> None:
    first, second = set_aside(LARGE), set_aside(LARGE)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert is_frozen()
    second.__exit__(None, None, None)
    assert not is_frozen()


def test_what_the_application_froze_stays_frozen() -> None:
    gc.freeze()
    with set_aside(LARGE):
        pass
    assert is_frozen()


def test_what_comes_meanwhile_is_set_aside_when_told() -> None:
    with set_aside(LARGE) as more:
        before = gc.get_freeze_count()
        kept = [[number] for number in range(1000)]
        more()
        assert gc.get_freeze_count() >= before + len(kept)


def test_garbage_of_the_walk_is_collected_afterwards() -> None:
    with set_aside(LARGE) as more:
        cycle: list[object] = []
        cycle.append(cycle)
        del cycle
        more()
    assert gc.collect() >= 1
