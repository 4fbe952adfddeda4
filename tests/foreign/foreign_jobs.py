"""What the server of these tests runs; `gate` and `open_gate` let a test say when a job goes on."""

from __future__ import annotations

from collections import defaultdict

import trio

import supervisor

registry = supervisor.Registry()
gates: defaultdict[str, trio.Event] = defaultdict(trio.Event)


@registry.job
async def nap(seconds: float = 1e6, value: str = "slept") -> str:
    await trio.sleep(seconds)
    return value


@registry.job
async def fail() -> None:
    raise ValueError("as told")


@registry.job
async def talk(lines: int = 3) -> int:
    """Log some lines, with characters that need more than one byte, and report progress."""
    for number in range(1, lines + 1):
        supervisor.current_job().log(f"line {number}: ünïcödé ☂")
        supervisor.current_job().progress(number, lines)
    return lines


@registry.job
async def gate(name: str) -> str:
    """Wait until it is opened; when cancelled, clean up until it is opened."""
    try:
        await gates[name].wait()
    finally:
        with trio.CancelScope(shield=True):
            await gates[name].wait()
    return "through"


@registry.job
async def crawl(site: str, pages: int = 20) -> int:
    """The job of the documentation; it takes its time."""
    await trio.sleep_forever()
    return pages


@registry.job
async def open_gate(name: str) -> None:
    gates[name].set()
