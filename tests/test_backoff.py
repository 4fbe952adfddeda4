"""How long a client waits before it tries again."""

from __future__ import annotations

import math
from typing import Any

import pytest

from supervisor._backoff import BASE, CAP, LONGEST_WISH, backoff, wish


@pytest.mark.parametrize(
    ("failures", "chance", "seconds"),
    [
        (0, 0.0, 0.0),
        (0, 1.0, BASE),
        (1, 1.0, 2 * BASE),
        (3, 0.5, 4 * BASE),
        (5, 1.0, 32 * BASE),
        (6, 1.0, CAP),
        (10_000, 1.0, CAP),
        (10_000, 0.0, 0.0),
    ],
)
def test_the_window_doubles_up_to_a_bound(failures: int, chance: float, seconds: float) -> None:
    assert backoff(failures, chance) == pytest.approx(seconds)


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 2.0), (0.5, 3.0), (1.0, 4.0)])
def test_what_the_server_asks_for_is_kept_and_spread(chance: float, seconds: float) -> None:
    assert backoff(0, chance, at_least=2.0) == pytest.approx(seconds)


def test_a_long_wish_is_spread_by_no_more_than_the_bound() -> None:
    assert backoff(0, 1.0, at_least=30.0) == pytest.approx(30.0 + CAP)


@pytest.mark.parametrize("chance", [-1.0, 2.0])
def test_odd_chances_stay_in_the_window(chance: float) -> None:
    assert 0.0 <= backoff(2, chance) <= 4 * BASE


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (1.5, 1.5),
        (2, 2.0),
        (0, 0.0),
        (-1, 0.0),
        (1e300, LONGEST_WISH),
        (10**400, LONGEST_WISH),
        (math.inf, LONGEST_WISH),
        (math.nan, 0.0),
        (None, 0.0),
        (True, 0.0),
        ("5", 0.0),
        ([5], 0.0),
    ],
)
def test_a_server_may_wish_for_anything(given: Any, seconds: float) -> None:
    assert wish(given) == seconds
