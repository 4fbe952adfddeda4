"""Log lines in memory: a ring per job, one budget for all."""

from __future__ import annotations

import pytest

from supervisor.stores._logs import LINE_OVERHEAD, LogRings


def fill(rings: LogRings, job_id: str, count: int, text: str | bytes = "x") -> None:
    for _ in range(count):
        rings.append(job_id, 1, "stdout", text, 0.0)


def numbers(rings: LogRings, job_id: str, since: int = 0, limit: int = 1000) -> list[int]:
    return [entry.n for entry in rings.read(job_id, since, limit)[0]]


def test_a_job_that_said_nothing() -> None:
    assert LogRings().read("a", 0, 10) == ((), 0, 0)


def test_lines_are_numbered_from_one_per_job() -> None:
    rings = LogRings()
    fill(rings, "a", 3)
    fill(rings, "b", 2)
    assert (numbers(rings, "a"), numbers(rings, "b")) == ([1, 2, 3], [1, 2])


def test_the_oldest_lines_of_a_job_give_way_and_are_counted() -> None:
    rings = LogRings(lines_per_job=5)
    fill(rings, "a", 12)
    entries, lines, dropped = rings.read("a", 0, 1000)
    assert ([entry.n for entry in entries], lines, dropped) == ([8, 9, 10, 11, 12], 12, 7)


@pytest.mark.parametrize(
    ("since", "limit", "expected"),
    [
        (0, 2, [8, 9]),
        (7, 2, [8, 9]),
        (8, 2, [9, 10]),
        (11, 5, [12]),
        (12, 5, []),
        (99, 5, []),
        (0, 0, []),
    ],
)
def test_a_page_of_a_ring(since: int, limit: int, expected: list[int]) -> None:
    rings = LogRings(lines_per_job=5)
    fill(rings, "a", 12)
    assert numbers(rings, "a", since, limit) == expected


def test_a_job_has_a_bound_in_bytes() -> None:
    cost = LINE_OVERHEAD + 100
    rings = LogRings(bytes_per_job=3 * cost)
    fill(rings, "a", 10, "x" * 100)
    assert numbers(rings, "a") == [8, 9, 10]
    assert rings.size == 3 * cost


@pytest.mark.parametrize("text", ["ä" * 1000, "😀" * 500, b"\xff" * 1000])
def test_bytes_are_counted_not_characters(text: str | bytes) -> None:
    rings = LogRings()
    fill(rings, "a", 1, text)
    assert rings.size >= len(text if isinstance(text, bytes) else text.encode())


def test_a_line_that_is_too_large_alone_is_dropped_and_counted() -> None:
    rings = LogRings(bytes_per_job=1000)
    fill(rings, "a", 1, "x" * 5000)
    assert (rings.read("a", 0, 10), rings.size) == (([], 1, 1), 0)
    fill(rings, "a", 1)
    assert numbers(rings, "a") == [2]


def test_one_budget_holds_for_all_jobs() -> None:
    cost = LINE_OVERHEAD + 1
    rings = LogRings(bytes_in_all=10 * cost)
    for number in range(8):
        fill(rings, f"j{number}", 3)
        assert rings.size <= 10 * cost
    kept = {f"j{n}": numbers(rings, f"j{n}") for n in range(8)}
    assert sum(map(len, kept.values())) == 10
    assert kept["j0"] == []
    assert kept["j7"] == [1, 2, 3]
    assert rings.read("j0", 0, 10)[1:] == (3, 3)


def test_a_job_emptied_for_the_others_speaks_on_with_its_numbers() -> None:
    cost = LINE_OVERHEAD + 1
    rings = LogRings(bytes_in_all=4 * cost)
    fill(rings, "a", 3)
    fill(rings, "b", 4)
    assert numbers(rings, "a") == []
    fill(rings, "a", 2)
    assert (numbers(rings, "a"), numbers(rings, "b")) == ([4, 5], [3, 4])
    assert rings.size == 4 * cost


def test_forgetting_a_job_gives_its_budget_back() -> None:
    rings = LogRings()
    fill(rings, "a", 3)
    fill(rings, "b", 1)
    rings.forget("a")
    rings.forget("nobody")
    assert rings.read("a", 0, 10) == ((), 0, 0)
    assert rings.size == LINE_OVERHEAD + 1


def test_text_and_bytes() -> None:
    rings = LogRings()
    for data in ("plain", b"caf\xc3\xa9", b"caf\xe9", "lone \ud800"):
        rings.append("a", 1, "stdout", data, 0.0)
    plain, utf8, latin, lone = rings.read("a", 0, 10)[0]
    assert (plain.text, plain.base64) == ("plain", None)
    assert (utf8.text, utf8.base64) == ("café", None)
    assert (latin.text, latin.base64) == ("caf\ufffd", "Y2Fm6Q==")
    assert lone.text.encode()


def test_a_line_larger_than_the_jobs_share_is_dropped_and_hurts_nobody() -> None:
    rings = LogRings(bytes_per_job=1000, bytes_in_all=2000)
    rings.append("a", 1, "log", "x" * 5000, 0.0)
    assert rings.read("a", 0, 10) == ([], 1, 1)
    for _ in range(30):
        rings.append("b", 1, "log", "y" * 100, 0.0)
    assert rings.size <= 2000


def test_many_emptied_jobs_are_not_looked_at_again() -> None:
    rings = LogRings(bytes_per_job=10_000, bytes_in_all=2000)
    for number in range(50):
        rings.append(f"n{number}", 1, "log", "x" * 300, 0.0)
    assert [rings.read(f"n{number}", 0, 1)[0] != [] for number in range(50)].count(True) == 4
    assert rings.read("n0", 0, 1) == ([], 1, 1)
