"""Planted bugs: what the race kit has to find.

Each module is a small Trio program with one race in it. `broken` passes as long as nobody is
preempted, and fails under some schedule of at most two preemptions; `right` has the same shape and
fails under none.

    python -m benchmarks.planted               how long each takes to be found
    python tests/planted/replay_all.py         replays what `expected.txt` has
    python tests/planted/replay_all.py --write finds everything anew and writes `expected.txt`
"""

from __future__ import annotations

import importlib
from types import ModuleType

NAMES = (
    "lost_cancel",
    "double_completion",
    "cancel_overwritten",
    "check_then_await",
    "waiter_missed",
    "slot_leaked",
    "tombstone_stays",
    "restart_after_cancel",
    "unshielded_cleanup",
    "timeout_and_completion",
    "lost_update",
    "lock_order",
    "lost_wake",
    "cache_stampede",
    "stale_refill",
    "double_close",
    "id_reused",
    "stale_handle",
    "aba",
    "closed_queue",
    "skipped_watcher",
    "answers_out_of_order",
    "stolen_wake",
    "torn_read",
    "lease_lost",
    "idle_too_soon",
    "hand_over_lost",
)


def load(name: str) -> ModuleType:
    """The module of one planted bug."""
    return importlib.import_module(f".{name}", __package__)
