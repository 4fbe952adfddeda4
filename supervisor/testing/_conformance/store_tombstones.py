"""Rules for stores: cancels that came before their jobs."""

from __future__ import annotations

from ..._errors import Overloaded
from .records import EPOCH, tombstone
from .running import Rule
from .store_bench import StoreBench

__all__ = ["TOMBSTONE_RULES"]

LOOK = 25
"""Tombstones between two looks at what is still there."""


async def a_tombstone_serves_once(bench: StoreBench) -> None:
    """`take` gives the tombstone for exactly this id, takes it away, and gives None after that."""
    store, notes = bench.store, bench.notes
    kept = store.remember(tombstone("a", reason="why"), EPOCH)
    notes.equal(kept, tombstone("a", reason="why"))
    store.remember(tombstone("aa"), EPOCH)
    for job_id in ("b", "A", "aaa", ""):
        notes.equal(store.take(job_id, EPOCH), None)
    notes.equal(store.take("a", EPOCH), kept)
    notes.equal(store.take("a", EPOCH), None)
    notes.equal([each.job_id for each in store.tombstones(EPOCH)], ["aa"])


async def a_tombstone_expires(bench: StoreBench) -> None:
    """From its `expires_at` on a tombstone is neither taken nor listed; until then it is both."""
    store, notes = bench.store, bench.notes
    store.remember(tombstone("a", lasts=600.0), EPOCH)
    notes.equal([each.job_id for each in store.tombstones(EPOCH + 599.5)], ["a"])
    notes.true(store.take("a", EPOCH + 599.5) is not None, "the tombstone", None)
    store.remember(tombstone("a", lasts=600.0), EPOCH)
    notes.equal(store.take("a", EPOCH + 600.0), None)
    store.remember(tombstone("b", lasts=600.0), EPOCH)
    notes.equal(list(store.tombstones(EPOCH + 600.0)), [])


async def the_first_reason_stays(bench: StoreBench) -> None:
    """Of a repeated cancel the first reason and requester stay; it lasts until it expires anew."""
    store, notes = bench.store, bench.notes
    store.remember(tombstone("a", reason="first"), EPOCH)
    again = store.remember(tombstone("a", 300.0, reason="second"), EPOCH + 300.0)
    notes.equal(again.reason, "first", "its reason")
    notes.equal(again.expires_at, tombstone("a", 300.0).expires_at, "its end")
    listed = list(store.tombstones(EPOCH + 700.0))
    notes.equal(listed, [again])
    notes.equal(store.take("a", EPOCH + 899.0), again)


async def lists_the_oldest_tombstone_first(bench: StoreBench) -> None:
    """`tombstones` gives all that are kept, oldest first."""
    store, notes = bench.store, bench.notes
    for number, job_id in enumerate("cabd"):
        store.remember(tombstone(job_id, float(number)), EPOCH + number)
    store.take("b", EPOCH + 5)
    notes.equal([each.job_id for each in store.tombstones(EPOCH + 5)], ["c", "a", "d"])


async def says_when_no_more_can_be_remembered(bench: StoreBench) -> None:
    """At its bound `remember` raises Overloaded with `retry_after`, in seconds, and drops none."""
    notes = bench.notes

    def add(number: int) -> tuple[int, Overloaded] | None:
        try:
            bench.plain.remember(tombstone(f"j{number}"), EPOCH)
        except Overloaded as error:
            return number, error
        if number % LOOK == 0 and len(bench.plain.tombstones(EPOCH)) != number + 1:
            notes.add(f"tombstones({EPOCH}), after {number + 1} calls of remember")
            notes.equal(len(bench.plain.tombstones(EPOCH)), number + 1, "how many are kept")
        return None

    number, error = bench.until_full("tombstones", add)
    notes.add(f"remember(...), when {number} were kept")
    retry_after = error.data.get("retry_after")
    is_seconds = isinstance(retry_after, (int, float)) and 0 <= retry_after <= 600
    notes.true(is_seconds, "data['retry_after'], the seconds until there is room", retry_after)
    notes.equal(len(bench.store.tombstones(EPOCH)), number, "how many are kept")
    again = bench.store.remember(tombstone("j0", 1.0), EPOCH + 1)
    notes.equal(again.job_id, "j0", "a repeat, which needs no room")
    bench.store.remember(tombstone("later", 700.0), EPOCH + 700.0)
    notes.equal([each.job_id for each in bench.store.tombstones(EPOCH + 700.0)], ["later"])


TOMBSTONE_RULES = (
    Rule(a_tombstone_serves_once),
    Rule(a_tombstone_expires),
    Rule(the_first_reason_stays),
    Rule(lists_the_oldest_tombstone_first),
    Rule(says_when_no_more_can_be_remembered),
)
