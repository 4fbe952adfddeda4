"""Tells how jobs end, whatever restarts meanwhile: the server, the network, this program.

A position is the name of a history and a number in it. It is written down after each event that was
dealt with, so an event is told again only if this program dies between the two. The client finds
its way back by itself; what the server no longer has is lost, and then we say so and look at the
list instead.
Run it: python examples/watcher_with_resume.py ws://127.0.0.1:8765/ws TOKEN_FILE POSITION_FILE
"""

import json
import math
import sys
from pathlib import Path

import trio

import supervisor


def load(file: Path) -> tuple[str, int] | None:
    """Where we were, if we ever were."""
    if not file.exists():
        return None
    saved = json.loads(file.read_text())
    return saved["instance"], saved["seq"]


def save(file: Path, instance: str, seq: int) -> None:
    """Whoever reads it finds the old position or the new one, never half of it."""
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps({"instance": instance, "seq": seq}))
    draft.replace(file)


async def begin(client: supervisor.Client, file: Path) -> tuple[str, int]:
    """The position to watch from; if it is not the one we were at, say what there is now."""
    before = load(file)
    if before is not None and before[0] == client.instance:
        return before
    if before is not None:
        say(f"events after {before[1]} were lost: this is another server")
    return await look(client, file)


async def look(client: supervisor.Client, file: Path) -> tuple[str, int]:
    """Say how jobs are; the position of that."""
    cursor = None
    while True:
        page = await client.list(limit=1000, cursor=cursor)
        for job in page:
            say(f"{job.id} is {job.state}")
        cursor = page.next_cursor
        if cursor is None:
            save(file, page.instance, page.seq)
            return page.instance, page.seq


async def watch(client: supervisor.Client, file: Path) -> None:
    try:
        instance, since = await begin(client, file)
        async with client.watch(since, instance=instance) as events:
            say(f"watching from {since}")
            async for item in events:
                if isinstance(item, supervisor.EventsLost):
                    say(f"events after {item.after_seq} were lost")
                    _, since = await look(client, file)
                elif isinstance(item, supervisor.JobEvent) and item.seq > since:
                    if item.type == "job.finished":
                        say(f"{item.job_id} has {item.state}")
                    save(file, item.instance, item.seq)
    except supervisor.ReplayGone as gone:
        say(f"events were lost: {gone}")
        await look(client, file)


def say(text: str) -> None:
    print(text, flush=True)


def tell(change: supervisor.Connected | supervisor.Disconnected) -> None:
    say("connected" if isinstance(change, supervisor.Connected) else "waiting for the server")


async def main(url: str, token_file: str, position_file: str) -> None:
    while True:
        token = Path(token_file).read_text()
        try:
            async with supervisor.connect(
                url, token=token, reconnect_timeout=math.inf, on_change=tell
            ) as client:
                while True:
                    await watch(client, Path(position_file))
        except supervisor.ConnectionLost as lost:  # only before the first connection
            say(f"{lost}")
            await trio.sleep(1)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    url, token_file, position_file = sys.argv[1:]
    trio.run(main, url, token_file, position_file)
