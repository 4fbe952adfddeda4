"""Our figures beside what the same thing costs on bare Trio, as ratios, measured in one run.

    python -m benchmarks            all rows
    python -m benchmarks 1 5 6      some
    python -m benchmarks.records    what making a record costs, attrs beside msgspec
    python -m benchmarks.planted    how long each planted bug takes to be found

Every figure comes from a process of its own; a row and its base run next to each other, in an
order that is shuffled anew each round; the table shows medians. Rows 1 to 6, 8 and 15 count
seconds of CPU, which a busy machine disturbs least; the others, where somebody waits for somebody,
seconds of a clock on the wall. Absolute times belong to the machine they were taken on: only the
ratios mean something, and nothing here asserts any of them.
"""
