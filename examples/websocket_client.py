"""A server and a client of it, over a real websocket on a loopback port.

In life they are two programs; `trio-supervisor serve` is the server from the shell.
Run it: python examples/websocket_client.py
"""

import secrets
from functools import partial

import trio

import supervisor

registry = supervisor.Registry()


@registry.job
async def resize(path: str, width: int = 640) -> str:
    """Pretend to resize a picture: what a client may start is registered by name."""
    for percent in range(100):
        supervisor.current_job().progress(percent, 100)
        await trio.sleep(0.05)
    return f"{path} at {width}"


async def use(url: str, token: str) -> None:
    async with supervisor.connect(url, token=token) as client:
        job = await client.start("resize", args={"path": "cat.png", "width": 100})
        print("started", job.id, "as", job.record.name)

        # Arguments are checked before a job exists; the error says what was wrong.
        try:
            await client.start("resize", args={"path": "cat.png", "width": "wide"})
        except supervisor.InvalidArguments as exc:
            print("refused:", exc)

        async with client.watch(filter=supervisor.JobFilter(job_ids=(job.id,))) as events:
            await job.cancel(reason="wrong picture")
            async for event in events:
                if isinstance(event, supervisor.JobEvent):
                    print(f"event {event.seq}: {event.type}")
                    if event.type == "job.finished":
                        break

        record = await job.wait()
        print("the job is", record.state, "because:", record.reason)


async def main() -> None:
    token = secrets.token_urlsafe()
    auth = supervisor.Auth([supervisor.Token("example", token)])
    async with supervisor.open_supervisor(registry) as sup, trio.open_nursery() as nursery:
        server = await nursery.start(partial(supervisor.serve, sup, port=0, auth=auth))
        await use(server.url, token)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
