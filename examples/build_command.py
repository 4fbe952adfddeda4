"""A build with live output that Ctrl+C ends whole: no compiler is left running.

Run it: python examples/build_command.py make -j8
"""

import signal
import sys
from collections.abc import AsyncIterator

import trio

import supervisor

DEMO = ["sh", "-c", "for part in 1 2 3; do echo compiling part $part; sleep 0.1; done"]


async def cancel_on(signals: AsyncIterator[int], job: supervisor.JobHandle) -> None:
    """The first Ctrl+C asks the whole tree to leave, the second kills it."""
    force = False
    async for _ in signals:
        print("killing it" if force else "stopping; once more to kill it")
        await job.cancel(reason="Ctrl+C", force=force)
        force = True


async def build(argv: list[str]) -> int:
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async with supervisor.open_supervisor() as sup, trio.open_nursery() as nursery:
            job = await sup.start(supervisor.Command(argv), grace=5)
            nursery.start_soon(cancel_on, signals, job)
            async with sup.follow_logs(job.id) as lines:
                async for line in lines:
                    if isinstance(line, supervisor.LogEntry):
                        print(line.text, file=sys.stderr if line.stream == "stderr" else sys.stdout)
            record = await job.wait()
            nursery.cancel_scope.cancel()
    if record.certificate is None:
        print(f"{record.name}: {record.state} after {record.duration:.1f} s")
        return record.exit_code or 0
    death = record.certificate
    print(f"{record.name}: {record.state}, {death.how} {death.request_to_dead:.1f} s after Ctrl+C")
    print(f"proof: {death.proof.means} ({death.proof.strength}): {death.proof.detail}")
    return 130


if __name__ == "__main__":
    sys.exit(trio.run(build, sys.argv[1:] or DEMO))
