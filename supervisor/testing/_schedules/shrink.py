"""Makes a failing schedule small: fewer preemptions first, then earlier ones of lower numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .choosing import Deviations


def shrink(deviations: Deviations, fails: Callable[[Deviations], bool], budget: int) -> Deviations:
    """The smallest schedule found that still fails.

    Args:
        deviations: one that fails.
        fails: whether another does.
        budget: how often `fails` may be asked.
    """
    left = budget
    while left > 0:
        for smaller in _smaller(deviations):
            left -= 1
            if fails(smaller):
                deviations = smaller
                break
            if left <= 0:
                return deviations
        else:
            return deviations
    return deviations


def _smaller(deviations: Deviations) -> Iterator[Deviations]:
    """Candidates, the smallest first: without a half, without one, one that is weaker."""
    count = len(deviations)
    if count > 3:
        yield _without(deviations, 0, count // 2)
        yield _without(deviations, count // 2, count)
    for number in range(count):
        yield _without(deviations, number, number + 1)
    for number, (gap, option) in enumerate(deviations):
        if option > 1:
            yield (*deviations[:number], (gap, 1), *deviations[number + 1 :])
        if gap:
            yield (*deviations[:number], (gap // 2, option), *deviations[number + 1 :])
            yield (*deviations[:number], (gap - 1, option), *deviations[number + 1 :])


def _without(deviations: Deviations, first: int, end: int) -> Deviations:
    """Leave some out; the gap of the next one grows, so that it stays where it was."""
    kept = list(deviations[:first])
    passed = sum(gap + 1 for gap, _ in deviations[first:end])
    for number, (gap, option) in enumerate(deviations[end:]):
        kept.append((gap + passed, option) if number == 0 else (gap, option))
    return tuple(kept)
