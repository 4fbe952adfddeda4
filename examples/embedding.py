"""Background jobs in a Trio application: start, look, cancel, know.

Run it: python examples/embedding.py
"""

import trio

import supervisor


async def count(limit: int) -> int:
    """A job: an async function. It may tell how far it is, and what it is doing."""
    job = supervisor.current_job()
    for number in range(limit):
        job.progress(number, limit)
        job.log(f"counted {number}")
        await trio.sleep(0.05)
    return limit


async def main() -> None:
    async with supervisor.open_supervisor() as sup:
        short = await sup.start(count, 3, name="short")
        long = await sup.start(count, 1_000_000, name="long", labels={"team": "blue"})

        print("short returned", await short.result())

        # `wait="finished"` answers when the job is gone, with its death certificate.
        reply = await long.cancel(reason="enough", wait="finished")
        certificate = reply.certificate
        assert certificate is not None
        print(
            f"long is {long.state}: {certificate.how}, "
            f"proof {certificate.proof.means} ({certificate.proof.strength})"
        )

        # A program and everything it starts, in one job. Its output can be followed.
        script = "sleep 60 & echo compiling; sleep 60"
        async with sup.watch(logs=True) as events:
            build = await sup.start(supervisor.Command(["sh", "-c", script]), grace=2)
            async for event in events:
                if isinstance(event, supervisor.LogEntry):
                    print("build says:", event.text)
                    break
        reply = await build.cancel(wait="finished")
        assert reply.certificate is not None
        print(f"build is {build.state}: {reply.certificate.proof.detail}")
    # Leaving the block cancels whatever still runs, and waits until it is gone.


if __name__ == "__main__":
    trio.run(main)
