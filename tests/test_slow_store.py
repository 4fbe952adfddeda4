"""A store that takes its time: answers and bodies wait for it, the effect of a cancel does not."""

from __future__ import annotations

from typing import ClassVar

import trio
from fakes import open_sup, run, settle

from supervisor import CancelReply, JobState
from supervisor.stores.memory import MemoryStore


class SlowStore(MemoryStore):
    synchronous: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.gate = trio.Event()

    async def saved(self, seq: int) -> None:
        await self.gate.wait()


def test_a_start_is_answered_and_its_body_entered_once_it_is_kept() -> None:
    async def main() -> None:
        store, entered, answered = SlowStore(), trio.Event(), trio.Event()

        async def body() -> None:
            entered.set()

        async def start() -> None:
            await sup.start(body)
            answered.set()

        async with open_sup(store=store) as sup, trio.open_nursery() as nursery:
            nursery.start_soon(start)
            await settle()
            assert not entered.is_set() and not answered.is_set()
            store.gate.set()
            await answered.wait()
            await entered.wait()

    run(main)


def test_a_cancel_takes_effect_before_it_is_kept_and_is_answered_after() -> None:
    async def main() -> None:
        store, left, replies = SlowStore(), trio.Event(), list[CancelReply]()

        async def body() -> None:
            try:
                await trio.sleep_forever()
            finally:
                left.set()

        async def cancel() -> None:
            replies.append(await job.cancel(wait="finished"))

        store.gate.set()
        async with open_sup(store=store) as sup, trio.open_nursery() as nursery:
            job = await sup.start(body)
            await settle()
            store.gate = trio.Event()
            nursery.start_soon(cancel)
            await settle()
            assert left.is_set() and replies == []
            store.gate.set()
        assert replies[0].job is not None
        assert replies[0].job.state is JobState.CANCELLED

    run(main)
