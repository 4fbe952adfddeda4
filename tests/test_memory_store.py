"""The store in memory: compare and swap, numbered events, bounds."""

from __future__ import annotations

import attrs
import pytest
from fakes import EPOCH, PROOF, at, make_spec

from supervisor._errors import Overloaded, ReplayGone
from supervisor._model import How, JobState, Tombstone
from supervisor._records import Final, JobSpec, NeverStarted, Pending, Running, Starting
from supervisor._view import when
from supervisor.stores.memory import MemoryStore


def final(attempt: int = 1) -> Final:
    exit = NeverStarted(None, PROOF)
    return Final(JobState.CANCELLED, attempt, 9, None, at(1.0), exit, How.NEVER_STARTED)


def put(store: MemoryStore, job_id: str, *, ended: bool = False) -> JobSpec:
    spec = make_spec(id=job_id)
    record = Pending(1, 1)
    store.swap(spec, None, record, ("job.pending",), EPOCH)
    if ended:
        store.swap(spec, record, final(), ("job.finished",), EPOCH)
    return spec


def tombstone(job_id: str, now: float, reason: str | None = None) -> Tombstone:
    return Tombstone(
        job_id=job_id,
        reason=reason,
        requester="local",
        recorded_at=when(now),
        expires_at=when(now + 600),
    )


# --- compare and swap -------------------------------------------------------------------------


def test_a_swap_numbers_its_events_without_holes() -> None:
    store = MemoryStore()
    spec, first, second = make_spec(), Pending(1, 1), Starting(1, 2)
    assert store.head_seq == 0
    assert store.swap(spec, None, first, ("job.pending",), EPOCH) == 1
    assert store.swap(spec, first, second, (), EPOCH) == 1
    assert store.swap(spec, second, Running(1, 3, at(0)), ("x", "y"), EPOCH + 1) == 3
    assert [(seq, type) for seq, _, type, _, _ in store.events(0)] == [
        (1, "job.pending"),
        (2, "x"),
        (3, "y"),
    ]
    row = store.get("a")
    assert row is not None
    assert (row.record.state, row.seq, store.head_seq) == ("running", 3, 3)


def test_the_second_of_two_swaps_is_refused() -> None:
    store = MemoryStore()
    spec, first = make_spec(), Pending(1, 1)
    store.swap(spec, None, first, (), EPOCH)
    store.swap(spec, first, Starting(1, 2), (), EPOCH)
    for expected in (first, None, Pending(1, 1), Starting(1, 2)):
        with pytest.raises(RuntimeError, match="somebody else"):
            store.swap(spec, expected, final(), ("job.finished",), EPOCH)
    assert store.head_seq == 0


def test_a_new_attempt_goes_to_the_end_of_the_list() -> None:
    store = MemoryStore()
    put(store, "a", ended=True)
    put(store, "b")
    row = store.get("a")
    assert row is not None
    store.swap(make_spec(id="a"), row.record, Pending(2, 1), (), EPOCH)
    assert [stored.spec.id for _, stored in store.scan()] == ["b", "a"]
    places = [place for place, _ in store.scan()]
    assert places == sorted(places)
    assert [stored.spec.id for _, stored in store.scan(places[0])] == ["a"]


# --- what is kept -----------------------------------------------------------------------------


def test_finished_jobs_are_kept_up_to_a_bound_with_their_logs() -> None:
    store = MemoryStore(finished_kept=2)
    for job_id in "abcd":
        store.append_log(job_id, 1, "log", "x", EPOCH)
        put(store, job_id, ended=job_id != "a")
    assert [stored.spec.id for _, stored in store.scan()] == ["a", "c", "d"]
    assert store.logs("b", 0, 10) == ((), 0, 0)
    assert store.logs("c", 0, 10)[1] == 1


def test_a_job_that_begins_again_is_not_dropped_for_its_last_end() -> None:
    store = MemoryStore(finished_kept=1)
    put(store, "a", ended=True)
    row = store.get("a")
    assert row is not None
    store.swap(make_spec(id="a"), row.record, Pending(2, 1), (), EPOCH)
    for job_id in "bcd":
        put(store, job_id, ended=True)
    assert [stored.spec.id for _, stored in store.scan()] == ["a", "d"]


def test_events_can_be_replayed_from_where_they_are_kept() -> None:
    store = MemoryStore(events_kept=3)
    for job_id in "abcde":
        put(store, job_id)
    assert [event[0] for event in store.events(2)] == [3, 4, 5]
    assert [event[0] for event in store.events(4)] == [5]
    assert store.events(5) == []
    for since in (1, 6, -1):
        with pytest.raises(ReplayGone) as caught:
            store.events(since)
        assert caught.value.data == {
            "instance": store.instance,
            "oldest_seq": 3,
            "head_seq": 5,
        }


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_events_can_be_replayed_up_to_an_age() -> None:
    clock = Clock()
    store = MemoryStore(events_seconds=600, clock=clock)
    for number in range(5):
        put(store, f"j{number}")
        clock.now += 200
    # Now they are 1000, 800, 600, 400 and 200 seconds old.
    assert [event[0] for event in store.events(2)] == [3, 4, 5]
    with pytest.raises(ReplayGone) as caught:
        store.events(1)
    assert caught.value.data["oldest_seq"] == 3
    assert caught.value.data["head_seq"] == 5
    clock.now += 1
    with pytest.raises(ReplayGone):
        store.events(2)


def test_what_is_old_is_still_listed() -> None:
    clock = Clock()
    store = MemoryStore(events_seconds=600, clock=clock)
    for job_id in "abc":
        put(store, job_id)
    clock.now += 3600
    assert [stored.spec.id for _, stored in store.scan()] == ["a", "b", "c"]
    row = store.get("a")
    assert row is not None
    assert row.seq == 1
    assert store.events(3) == []
    with pytest.raises(ReplayGone) as caught:
        store.events(0)
    assert caught.value.data["oldest_seq"] == 3


def test_the_time_of_day_may_jump() -> None:
    clock = Clock()
    store = MemoryStore(events_seconds=600, clock=clock)
    spec, record = make_spec(), Pending(1, 1)
    store.swap(spec, None, record, ("a",), EPOCH)
    store.swap(spec, record, record, ("b",), EPOCH + 1e6)
    store.swap(spec, record, record, ("c",), EPOCH - 1e6)
    assert [event[2] for event in store.events(0)] == ["a", "b", "c"]


def test_the_events_of_the_last_change_can_always_be_passed_on() -> None:
    """This process may be stopped between making them and passing them on."""
    clock = Clock()
    store = MemoryStore(events_seconds=600, clock=clock)
    put(store, "a")
    spec, record = make_spec(id="b"), Pending(1, 1)
    store.swap(spec, None, record, ("x", "y"), EPOCH)
    clock.now += 3600
    assert [event[2] for event in store.events(1)] == ["x", "y"]
    store.swap(spec, record, record, (), EPOCH)  # makes none
    assert [event[2] for event in store.events(1)] == ["x", "y"]
    with pytest.raises(ReplayGone):
        store.events(0)


def test_age_and_number_bound_the_events_together() -> None:
    clock = Clock()
    store = MemoryStore(events_kept=3, events_seconds=600, clock=clock)
    for job_id in "abcde":
        put(store, job_id)
        clock.now += 1
    assert [event[0] for event in store.events(2)] == [3, 4, 5]
    clock.now += 598  # the oldest kept is 601 seconds old
    assert [event[0] for event in store.events(3)] == [4, 5]
    with pytest.raises(ReplayGone):
        store.events(2)


def test_before_the_first_event_there_is_nothing_to_replay() -> None:
    store = MemoryStore()
    assert store.events(0) == []
    with pytest.raises(ReplayGone):
        store.events(1)


def test_two_stores_are_two_histories() -> None:
    assert MemoryStore().instance != MemoryStore().instance


# --- tombstones -------------------------------------------------------------------------------


def test_a_tombstone_is_taken_once() -> None:
    store = MemoryStore()
    store.remember(tombstone("a", EPOCH), EPOCH)
    assert store.take("b", EPOCH) is None
    taken = store.take("a", EPOCH)
    assert taken is not None
    assert taken.job_id == "a"
    assert store.take("a", EPOCH) is None


def test_a_tombstone_expires() -> None:
    store = MemoryStore()
    store.remember(tombstone("a", EPOCH), EPOCH)
    assert store.take("a", EPOCH + 600) is None
    store.remember(tombstone("a", EPOCH), EPOCH)
    assert store.take("a", EPOCH + 599.9) is not None


def test_a_repeat_keeps_the_first_words_and_moves_to_the_end() -> None:
    store = MemoryStore(tombstones_kept=2)
    first = tombstone("a", EPOCH, "first")
    store.remember(first, EPOCH)
    store.remember(tombstone("b", EPOCH + 1), EPOCH + 1)
    again = store.remember(tombstone("a", EPOCH + 2, "again"), EPOCH + 2)
    assert again == attrs.evolve(first, expires_at=when(EPOCH + 602))
    assert [each.job_id for each in store.tombstones(EPOCH + 2)] == ["b", "a"]
    assert [each.job_id for each in store.tombstones(EPOCH + 601)] == ["a"]


def test_as_many_tombstones_as_may_be() -> None:
    store = MemoryStore(tombstones_kept=2)
    for number in range(2):
        store.remember(tombstone(f"j{number}", EPOCH), EPOCH)
    with pytest.raises(Overloaded) as caught:
        store.remember(tombstone("more", EPOCH + 100), EPOCH + 100)
    assert caught.value.data == {"retry_after": 500}
    store.remember(tombstone("more", EPOCH + 600), EPOCH + 600)
    assert len(store.tombstones(EPOCH + 600)) == 1
