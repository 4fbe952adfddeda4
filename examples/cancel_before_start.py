"""A cancel may come before the start that it is about, and still counts.

Whoever cancels may be quicker than whoever starts: another client, a user who changed their mind.
With `if_unknown="remember"` the supervisor keeps the cancel for ten minutes; the job that comes
with this id is recorded as cancelled, and its body is never entered.
Run it: python examples/cancel_before_start.py
"""

import trio

import supervisor


async def send_letter() -> None:
    print("this is never printed")


async def main() -> None:
    async with supervisor.open_supervisor() as sup:
        reply = await sup.cancel("letter-17", reason="wrong address", if_unknown="remember")
        print("cancel first:", reply.outcome)

        job = await sup.start(send_letter, job_id="letter-17")
        record = await job.wait()
        print("then start:", record.state, record.how, "because:", record.reason)

        # A remembered cancel serves once; a start that means it can begin a new attempt.
        again = await sup.start(send_print, job_id="letter-17", id_reuse_policy="allow")
        print("started again:", await again.result(), "in attempt", again.record.attempt)


async def send_print() -> str:
    return "sent"


if __name__ == "__main__":
    trio.run(main)
