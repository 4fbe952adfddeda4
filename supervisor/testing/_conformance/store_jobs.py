"""Rules for stores: opening, jobs, and their events."""

from __future__ import annotations

import trio

from ..._errors import ReplayGone
from ..._records import Pending, Running, Starting
from .records import EPOCH, at, ended, job, one_of_each, tombstone
from .running import Rule, opened
from .store_bench import StoreBench

__all__ = ["JOB_RULES"]

LOOK = 25
"""How many are added between two looks at what is still there."""


async def opens_and_closes(bench: StoreBench) -> None:
    """`open()` is an async context manager, which can be entered and left."""
    bench.notes.add("open()")


async def names_its_history(bench: StoreBench) -> None:
    """`instance` is a text that stays, and that no other store has."""
    name = bench.store.instance
    bench.notes.instance(name, str, "a text")
    bench.add("a")
    bench.notes.equal(bench.store.instance, name)
    other = bench.another()
    async with opened(other, bench.notes):
        bench.notes.add("instance of another store")
        bench.notes.true(other.instance != name, "another name", other.instance)


async def says_whether_it_waits(bench: StoreBench) -> None:
    """`synchronous` is True or False, and an attribute of the class."""
    bench.notes.add("synchronous, on the class")
    bench.notes.instance(getattr(type(bench.plain), "synchronous", None), bool, "True or False")


async def begins_empty(bench: StoreBench) -> None:
    """A fresh store has no jobs, events, lines or cancels; `head_seq` is 0."""
    store, notes = bench.store, bench.notes
    notes.equal(store.head_seq, 0)
    notes.equal(list(store.events(0)), [])
    notes.equal(list(store.scan()), [])
    notes.equal(store.get("a"), None)
    notes.equal(store.log_bytes, 0)
    notes.equal(list(store.tombstones(EPOCH)), [])


async def numbers_events_without_holes(bench: StoreBench) -> None:
    """Events are numbered from 1, without holes; `swap` returns the newest one's number."""
    store, notes = bench.store, bench.notes
    spec, records = job("a"), one_of_each()
    notes.equal(store.swap(spec, None, records[0], ("one",), EPOCH), 1)
    notes.equal(store.head_seq, 1)
    notes.equal(store.swap(spec, records[0], records[1], ("two", "three"), EPOCH), 3)
    notes.equal(store.swap(job("b"), None, Pending(1, 1), ("four",), EPOCH), 4)
    notes.equal(store.head_seq, 4)
    notes.equal(bench.numbers(0), [1, 2, 3, 4])


async def a_change_may_have_no_events(bench: StoreBench) -> None:
    """A `swap` without events changes the record, numbers nothing, and returns the head."""
    store, notes = bench.store, bench.notes
    spec, first = bench.add("a")
    notes.equal(store.swap(spec, first, Starting(1, 2), (), EPOCH), 1)
    notes.equal(store.head_seq, 1)
    stored = store.get("a")
    notes.true(stored is not None, "the job", stored)
    assert stored is not None
    notes.equal(stored.record, Starting(1, 2), "its record")
    notes.equal(stored.seq, 1, "its seq")


async def refuses_a_second_decision(bench: StoreBench) -> None:
    """`swap` raises RuntimeError where another record is in the place of `expected`."""
    store, notes = bench.store, bench.notes
    spec, first = bench.add("a")
    second = Starting(1, 2)
    store.swap(spec, first, second, ("job.starting",), EPOCH)
    for expected, why in ((first, "it was replaced"), (None, "there is a job with this id")):
        notes.raises(
            RuntimeError,
            lambda expected=expected: store.swap(  # type: ignore[misc]
                spec, expected, ended(), ("job.finished",), EPOCH
            ),
            why,
        )
    notes.raises(
        RuntimeError,
        lambda: store.swap(job("b"), second, ended(), ("job.finished",), EPOCH),
        "there is no such job",
    )


async def a_refused_change_changes_nothing(bench: StoreBench) -> None:
    """A `swap` that is refused leaves the record, the events and the list as they were."""
    store, notes = bench.store, bench.notes
    spec, first = bench.add("a")
    store.swap(spec, first, Starting(1, 2), (), EPOCH)
    refused = ((spec, first), (spec, None), (job("b"), first))
    for of, expected in refused:
        notes.raises(
            RuntimeError,
            lambda of=of, expected=expected: store.swap(  # type: ignore[misc]
                of, expected, ended(), ("job.finished",), EPOCH
            ),
            "another record is in that place",
        )
        stored = store.get("a")
        notes.equal(None if stored is None else stored.record, Starting(1, 2), "the record")
        notes.equal(store.head_seq, 1)
        notes.equal(bench.numbers(0), [1])
        notes.equal(bench.ids(), ["a"])
        notes.equal(store.get("b"), None)


async def finds_a_job_by_its_exact_id(bench: StoreBench) -> None:
    """`get` gives the job with exactly this id, live or finished, and None if there is none."""
    store, notes = bench.store, bench.notes
    for job_id in ("job-1", "job-10", "JOB-1", "j.b_1"):
        spec, record = bench.add(job_id)
        if job_id == "job-10":
            bench.end(spec, record)
    for job_id in ("job-1", "job-10", "JOB-1", "j.b_1"):
        stored = store.get(job_id)
        notes.true(stored is not None, f"job {job_id!r}", None)
        assert stored is not None
        notes.equal(stored.spec.id, job_id, "its id")
        notes.equal(stored.record.state.is_final, job_id == "job-10", "whether it has ended")
    for job_id in ("job", "job-", "job-100", "Job-1", "ob-1", "j_b_1", "j.b.1", "*", "", "job-1 "):
        notes.equal(store.get(job_id), None)


async def keeps_every_kind_of_record(bench: StoreBench) -> None:
    """Whatever state a job is in, `get` gives its record and its spec with all that they hold."""
    store, notes = bench.store, bench.notes
    labels = {"k\u00e9y": "value", "empty": ""}
    spec, expected = job("a", labels=labels, timeout=2.5, grace=0.0), None
    for record in one_of_each():
        if expected is not None and expected.state.is_final:
            spec = job(f"a{record.version}", labels=labels, timeout=2.5, grace=0.0)
            expected = None
        store.swap(spec, expected, record, ("changed",), EPOCH)
        stored = store.get(spec.id)
        notes.true(stored is not None, "the job", None)
        assert stored is not None
        notes.equal(stored.record, record, "its record")
        kept = [getattr(stored.spec, field) for field in spec.__struct_fields__]
        bench.pairs(kept, [getattr(spec, field) for field in spec.__struct_fields__], "its spec")
        expected = record


async def tells_a_jobs_own_last_event(bench: StoreBench) -> None:
    """A stored job's `seq` is the number of its own last event, not of any other's."""
    store, notes = bench.store, bench.notes
    spec, first = bench.add("a")
    bench.add("b", "x", "y")
    for job_id, seq in (("a", 1), ("b", 3)):
        stored = store.get(job_id)
        notes.equal(None if stored is None else stored.seq, seq, "its seq")
    store.swap(spec, first, Starting(1, 2), ("job.starting",), EPOCH)
    for _, stored in store.scan():
        notes.equal(stored.seq, {"a": 4, "b": 3}[stored.spec.id], f"seq of {stored.spec.id}")


async def lists_jobs_in_order_of_acceptance(bench: StoreBench) -> None:
    """`scan` gives all jobs in the order in which they came, whatever becomes of them after."""
    store, notes = bench.store, bench.notes
    known = {job_id: bench.add(job_id) for job_id in ("c", "a", "d", "b")}
    bench.end(*known["d"])
    spec, record = known["c"]
    store.swap(spec, record, Starting(1, 2), ("job.starting",), EPOCH)
    notes.equal(bench.ids(), ["c", "a", "d", "b"])
    places = [place for place, _ in store.scan()]
    notes.true(
        places == sorted(set(places)) and places[0] >= 1, "places that grow, from 1 on", places
    )


async def lists_jobs_from_a_place_on(bench: StoreBench) -> None:
    """`scan(after)` gives the jobs after that place, also where the job at that place is gone."""
    store, notes = bench.store, bench.notes
    known = {job_id: bench.add(job_id) for job_id in "abcd"}
    places = {stored.spec.id: place for place, stored in store.scan()}
    notes.equal(bench.ids(places["b"]), ["c", "d"])
    notes.equal(bench.ids(places["d"]), [])
    final = bench.end(*known["b"])
    store.swap(job("b"), final, Pending(2, final.version + 1), (), EPOCH)
    notes.equal(bench.ids(places["b"]), ["c", "d", "b"])
    again = {stored.spec.id: place for place, stored in store.scan()}
    for job_id in "acd":
        notes.equal(again[job_id], places[job_id], f"the place of {job_id}")


async def a_new_attempt_goes_to_the_end(bench: StoreBench) -> None:
    """A job that has ended and begins anew, with a new spec, is listed once, and last."""
    store, notes = bench.store, bench.notes
    final = bench.end(*bench.add("a"))
    bench.add("b")
    store.swap(job("a"), final, Pending(2, final.version + 1), ("job.pending",), EPOCH)
    notes.equal(bench.ids(), ["b", "a"])
    stored = store.get("a")
    notes.equal(None if stored is None else stored.record.attempt, 2, "its attempt")


async def a_list_under_way_survives_changes(bench: StoreBench) -> None:
    """Jobs may come, change and end while somebody goes through a `scan`."""
    store, notes = bench.store, bench.notes
    known = {job_id: bench.add(job_id) for job_id in "abc"}
    seen = []
    for _, stored in store.scan():
        seen.append(stored.spec.id)
        if stored.spec.id in known:
            bench.end(*known[stored.spec.id])
            bench.add(f"new-{stored.spec.id}")
        if len(seen) > 20:
            break
    notes.add("scan(), with changes between its items")
    notes.equal([job_id for job_id in seen if job_id in known], ["a", "b", "c"])
    notes.true(len(seen) == len(set(seen)), "each job once", seen)


async def replays_what_happened(bench: StoreBench) -> None:
    """`events(since)` tells number, wall time, type, job and record of each event after `since`."""
    store, notes = bench.store, bench.notes
    spec, first = job("a"), Pending(1, 1)
    second = Running(1, 2, at(1.0))
    store.swap(spec, None, first, ("one",), EPOCH + 1)
    store.swap(spec, first, second, ("two", "three"), EPOCH + 2.5)
    told = [(seq, wall, type, of.id, record) for seq, wall, type, of, record in store.events(0)]
    notes.equal(
        told,
        [
            (1, EPOCH + 1, "one", "a", first),
            (2, EPOCH + 2.5, "two", "a", second),
            (3, EPOCH + 2.5, "three", "a", second),
        ],
    )
    for since in range(4):
        notes.equal(bench.numbers(since), list(range(since + 1, 4)))


async def has_no_future_to_replay(bench: StoreBench) -> None:
    """`events` raises ReplayGone for a number that lies in the future."""
    store, notes = bench.store, bench.notes
    notes.raises(ReplayGone, lambda: store.events(1), "there is no event 1 yet")
    bench.add("a", "one", "two")
    notes.raises(ReplayGone, lambda: store.events(3), "the newest event is 2")
    notes.raises(ReplayGone, lambda: store.events(10**9), "the newest event is 2")


async def says_what_can_be_replayed(bench: StoreBench) -> None:
    """The data of ReplayGone: `instance`, `oldest_seq` (the oldest event kept), `head_seq`."""
    store, notes = bench.store, bench.notes
    bench.add("a", "one", "two")
    error = notes.raises(ReplayGone, lambda: store.events(7), "the newest event is 2")
    expected = {"instance": bench.plain.instance, "oldest_seq": 1, "head_seq": 2}
    notes.equal({name: error.data.get(name) for name in expected}, expected, "its data")


async def drops_only_the_oldest_events(bench: StoreBench) -> None:
    """Where not all events are kept, the newest are, without holes, and ReplayGone tells of it."""
    notes, store = bench.notes, bench.plain
    spec, first = bench.add("a")
    record = first

    def add(number: int) -> int | None:
        nonlocal record
        following = Pending(1, number + 2)
        head = store.swap(spec, record, following, ("changed",), EPOCH)
        record = following
        if number % LOOK and number + 1 < bench.reach:
            return None
        try:
            told = len(store.events(0))
        except ReplayGone:
            return head
        if told != head:
            notes.add(f"events(0), after {head} events")
            notes.broken(f"ReplayGone, or {head} events", f"{told} events")
        return None

    head = bench.until_full("events", add)
    gone = notes.raises(ReplayGone, lambda: bench.store.events(0), "some are no longer kept")
    oldest = gone.data.get("oldest_seq")
    notes.instance(oldest, int, "data['oldest_seq'], the number of the oldest event")
    assert isinstance(oldest, int)
    notes.true(1 < oldest <= head, f"data['oldest_seq'] from 2 to {head}", oldest)
    notes.equal(bench.numbers(oldest - 1), list(range(oldest, head + 1)))
    notes.raises(ReplayGone, lambda: bench.store.events(oldest - 2), "it is no longer kept")


async def the_last_change_can_be_passed_on(bench: StoreBench) -> None:
    """The events of a `swap` can be replayed right after it, however many came before."""
    notes, store = bench.notes, bench.plain
    spec = job("a")
    expected = None
    for number in range(min(bench.reach, 1_000)):
        record = Pending(1, number + 1)
        head = store.swap(spec, expected, record, ("x", "y", "z"), EPOCH)
        expected = record
        told = [event[0] for event in store.events(head - 3)]
        if told != [head - 2, head - 1, head]:
            notes.add(f"events({head - 3}), after a swap with events up to {head}")
            notes.equal(told, [head - 2, head - 1, head])


async def the_time_of_day_may_jump(bench: StoreBench) -> None:
    """A wall time that goes back or far ahead changes neither order nor what is kept."""
    spec, expected = job("a"), None
    for number, wall in enumerate((EPOCH, EPOCH + 1e7, EPOCH - 1e7), 1):
        record = Pending(1, number)
        bench.store.swap(spec, expected, record, (f"e{number}",), wall)
        expected = record
    told = [(event[2], event[1]) for event in bench.store.events(0)]
    bench.notes.equal(told, [("e1", EPOCH), ("e2", EPOCH + 1e7), ("e3", EPOCH - 1e7)])


async def never_drops_a_live_job(bench: StoreBench) -> None:
    """Finished jobs may be dropped, oldest first; live ones, and those begun anew, never are."""
    notes, store = bench.notes, bench.plain
    bench.add("live")
    final = bench.end(*bench.add("anew"))
    store.swap(job("anew"), final, Pending(2, final.version + 1), (), EPOCH)

    def add(number: int) -> int | None:
        spec, first = job(f"done-{number}"), Pending(1, 1)
        store.swap(spec, None, first, (), EPOCH)
        store.swap(spec, first, ended(), (), EPOCH)
        for kept in ("live", f"done-{number}"):
            if store.get(kept) is None:
                notes.add(f"swap(...), when {number + 1} jobs had ended")
                notes.broken(f"that the job {kept!r} is still there", "it is not")
        return number if store.get("done-0") is None else None

    last = bench.until_full("finished jobs", add)
    notes.add(f"swap(...), when {last + 1} jobs had ended")
    for job_id in ("live", "anew", f"done-{last}"):
        notes.true(bench.store.get(job_id) is not None, f"job {job_id!r}", None)
    listed = bench.ids()
    notes.equal(listed[:2], ["live", "anew"], "the first two")
    newest = [f"done-{number}" for number in range(last + 1)][2 - len(listed) :]
    notes.equal(listed[2:], newest, "the finished ones")


async def saved_returns(bench: StoreBench) -> None:
    """`saved(seq)` returns for every number up to the head, for any number of tasks."""
    store = bench.store
    for job_id in "abc":
        bench.add(job_id)
        await store.saved(store.head_seq)
    await store.saved(0)
    async with trio.open_nursery() as nursery:
        for seq in (3, 1, 3, 2):
            nursery.start_soon(store.saved, seq)


async def who_waits_for_saved_may_be_cancelled(bench: StoreBench) -> None:
    """A task that is cancelled in `saved` does no harm: others go on, and so does the store."""
    store, notes = bench.store, bench.notes
    bench.add("a")
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.saved, 1)
            scope.cancel()
    bench.add("b")
    await store.saved(2)
    notes.equal(store.head_seq, 2)
    notes.equal(bench.ids(), ["a", "b"])


async def answers_stay_as_they_are(bench: StoreBench) -> None:
    """What `events`, `logs` and `tombstones` gave does not change with what happens after."""
    store, notes = bench.store, bench.notes
    spec, record = bench.add("a")
    store.append_log("a", 1, "log", "one", EPOCH)
    store.remember(tombstone("x"), EPOCH)
    lines, _, _ = store.logs("a", 0, 10)
    given = {"events": store.events(0), "logs": lines, "tombstones": store.tombstones(EPOCH)}
    before = {name: len(answer) for name, answer in given.items()}
    bench.end(spec, record)
    store.append_log("a", 1, "log", "two", EPOCH)
    store.remember(tombstone("y"), EPOCH)
    for name, answer in given.items():
        notes.add(f"what {name}(...) gave before the last three calls")
        notes.equal(len(answer), before[name], "its length")


JOB_RULES = (
    Rule(opens_and_closes),
    Rule(names_its_history),
    Rule(says_whether_it_waits),
    Rule(begins_empty),
    Rule(numbers_events_without_holes),
    Rule(a_change_may_have_no_events),
    Rule(refuses_a_second_decision),
    Rule(a_refused_change_changes_nothing),
    Rule(finds_a_job_by_its_exact_id),
    Rule(keeps_every_kind_of_record),
    Rule(tells_a_jobs_own_last_event),
    Rule(lists_jobs_in_order_of_acceptance),
    Rule(lists_jobs_from_a_place_on),
    Rule(a_new_attempt_goes_to_the_end),
    Rule(a_list_under_way_survives_changes),
    Rule(replays_what_happened),
    Rule(has_no_future_to_replay),
    Rule(says_what_can_be_replayed),
    Rule(drops_only_the_oldest_events),
    Rule(the_last_change_can_be_passed_on),
    Rule(the_time_of_day_may_jump),
    Rule(never_drops_a_live_job),
    Rule(saved_returns),
    Rule(who_waits_for_saved_may_be_cancelled),
    Rule(answers_stay_as_they_are),
)
