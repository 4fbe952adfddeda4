"""`python -m benchmarks [ROW ...]`: measure and print the table."""

from __future__ import annotations

import argparse
import sys

from ._frame import Case, Row, run

N = 10_000
MANY = 100_000
SOME = 1_000


def make_rows(scale: int) -> list[Row]:
    """All rows; `scale` divides the sizes, for a quick look."""
    n, many = N // scale, MANY // scale
    asks, trees, cancels = 3_000 // scale, 200 // scale, 300 // scale
    watchers = 1_000 // scale
    steps = 6 if scale == 1 else 2
    return [
        Row(
            number="1",
            what=f"no-op job, {n:,} by start_many",
            ours=Case("ours.noop_many", n, "per_job"),
            base=Case("record.noop", n, "per_job"),
            must=2,
            goal=1.3,
        ),
        Row(
            number="1",
            what=f"no-op job, {n:,} by start",
            ours=Case("ours.noop_each", n, "per_job"),
            base=Case("record.noop", n, "per_job"),
            must=2,
            goal=1.3,
        ),
        Row(
            number="2",
            what=f"no-op job, {many:,} at once beside {SOME:,}",
            ours=Case("ours.noop_many", many, "per_job"),
            base=Case("ours.noop_many", SOME, "per_job"),
            must=2,
            goal=1.2,
        ),
        Row(
            number="2",
            what="  the same of trio-record, to compare",
            ours=Case("record.noop", many, "per_job"),
            base=Case("record.noop", SOME, "per_job"),
        ),
        Row(
            number="3",
            what=f"memory of an idle job, {many:,}",
            ours=Case("ours.idle", many, "memory"),
            base=Case("record.idle", many, "memory"),
            unit="B",
            must=1.5,
            goal=1.15,
        ),
        Row(
            number="4",
            what=f"cancel one of {many:,} idle -> finally",
            ours=Case("ours.idle", many, "cancel_to_finally"),
            base=Case("record.idle", many, "cancel_to_finally"),
            must=2,
            goal=1.4,
        ),
        Row(
            number="4",
            what=f"  its growth from {SOME:,} to {many:,}",
            ours=Case("ours.idle", many, "cancel_to_finally"),
            base=Case("ours.idle", SOME, "cancel_to_finally"),
            goal=1.1,
        ),
        Row(
            number="5",
            what=f"cancel all of {many:,}: cancel_many",
            ours=Case("ours.cancel_all", many, "total"),
            base=Case("record.cancel_all", many, "total"),
            must=1,
            goal=0.7,
        ),
        Row(
            number="5",
            what=f"cancel all of {many:,}: leave the block",
            ours=Case("ours.leave_block", many, "total"),
            base=Case("record.cancel_all", many, "total"),
            must=1,
            goal=0.7,
        ),
        Row(
            number="6",
            what="longest stall of the loop: cancel_many",
            ours=Case("ours.cancel_all_stall", many, "stall"),
            base=Case("record.cancel_all_stall", many, "stall"),
            must=1 / 100,
            goal=1 / 500,
        ),
        Row(
            number="6",
            what="longest stall of the loop: leave the block",
            ours=Case("ours.leave_block_stall", many, "stall"),
            base=Case("record.cancel_all_stall", many, "stall"),
            must=1 / 100,
            goal=1 / 500,
        ),
        Row(
            number="6",
            what="  cancel_many, less garbage collection",
            ours=Case("ours.cancel_all_stall", many, "stall_net"),
            base=Case("record.cancel_all_stall", many, "stall"),
        ),
        Row(
            number="7",
            what="round trip, session.ping",
            ours=Case("our_wire.ping", asks, "round_trip"),
            base=Case("wire.echo_ping", asks, "round_trip"),
            must=1.3,
            goal=1.0,
        ),
        Row(
            number="7",
            what="CPU a message pipelined, session.ping",
            ours=Case("our_wire.ping", asks, "cpu"),
            base=Case("wire.echo_ping", asks, "cpu"),
            must=1.3,
            goal=0.9,
        ),
        Row(
            number="7",
            what="  round trip, job.get",
            ours=Case("our_wire.get", asks, "round_trip"),
            base=Case("wire.echo_get", asks, "round_trip"),
        ),
        Row(
            number="8",
            what=f"one event to {watchers:,} watchers, CPU each",
            ours=Case("our_fanout.subscribed", watchers, "cpu"),
            base=Case("fanout.send_message", watchers, "cpu"),
            must=1.1,
            goal=0.7,
        ),
        Row(
            number="9",
            what="  cancel request -> finally (memory store)",
            ours=Case("our_wire.cancel", cancels, "cancel_to_finally"),
            base=Case("wire.bare", cancels, "cancel_to_finally"),
        ),
        Row(
            number="11",
            what=f"processes left of {trees}, 2 by setsid",
            ours=Case("our_tree.survivors", trees, "left"),
            base=Case("tree.survivors", trees, "left"),
            unit="",
            must=0,
            goal=0,
        ),
        Row(
            number="12",
            what=f"kill -> tree of {trees} gone",
            ours=Case("our_tree.kill", trees, "gone"),
            base=Case("tree.kill", trees, "gone"),
            must=3,
            goal=2,
        ),
        Row(
            number="12",
            what="  the same beside cgroup.kill by hand",
            ours=Case("our_tree.kill", trees, "gone"),
            base=Case("tree.kill_cgroup", trees, "gone"),
        ),
        Row(
            number="15",
            what=f"schedules explored, three jobs of {steps} steps",
            ours=Case("our_race.explored", steps, "per_run"),
            base=Case("race.plain", steps, "per_run"),
            unit="/s",
            goal=1.6,
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="only these rows, by number")
    parser.add_argument("--runs", type=int, default=5, help="runs of each case (5)")
    parser.add_argument("--quick", action="store_true", help="a tenth of the size, one run")
    options = parser.parse_args()
    rows = make_rows(10 if options.quick else 1)
    chosen = [row for row in rows if not options.rows or row.number in options.rows]
    if not chosen:
        known = ", ".join(dict.fromkeys(row.number for row in rows))
        parser.error(f"no such row; there are {known}")
    return run(chosen, 1 if options.quick else options.runs)


if __name__ == "__main__":
    sys.exit(main())
