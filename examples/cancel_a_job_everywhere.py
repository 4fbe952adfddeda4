"""Find the line at which a cancelled job leaves things in disorder.

`cancel_everywhere` runs an async function again and again, cancelled at its first checkpoint, its
second, and so on, and looks after each run whether anything is left or broken. It needs no
supervisor: a job is an async function.
Run it: python examples/cancel_a_job_everywhere.py
"""

import trio

from supervisor.testing import CancellationUnsafe, cancel_everywhere


class Album:
    """Somewhere to put pictures; a lock says who is at it."""

    def __init__(self) -> None:
        self.pictures = 0
        self.locked_by: str | None = None

    async def unlock(self) -> None:
        await trio.sleep(0.1)  # the other side answers
        self.locked_by = None

    def check(self) -> None:
        assert self.locked_by is None, f"still locked by {self.locked_by}"


async def hasty(album: Album) -> None:
    album.locked_by = "hasty"
    try:
        for _ in range(3):
            await trio.sleep(1)
            album.pictures += 1
    finally:
        await album.unlock()  # noqa: ASYNC102  # cancelled again, here


async def careful(album: Album) -> None:
    album.locked_by = "careful"
    try:
        for _ in range(3):
            await trio.sleep(1)
            album.pictures += 1
    finally:
        with trio.move_on_after(5, shield=True):
            await album.unlock()


if __name__ == "__main__":
    try:
        cancel_everywhere(hasty, make=Album, check=Album.check)
    except CancellationUnsafe as exc:
        print(exc)
    print(cancel_everywhere(careful, make=Album, check=Album.check))
