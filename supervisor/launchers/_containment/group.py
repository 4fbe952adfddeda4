"""Containment without cgroups: session, process group, and a search of the process table.

Each command leads a session and a process group of its own and carries a cookie in its environment.
The exec helper is a subreaper, so what a command leaves behind comes to it and not to init. The
helper keeps the leader as a zombie until the group is gone: as long as it does, the number cannot
be given to others and `killpg` is safe.

What is found is killed, and the search repeated until it finds nothing. A process that left the
session, cleared its environment, closed its output and lost its parents shows nothing of where it
came from. It is the helper's child, and goes with the last command that may have started it. The
proof says `best_effort`: it means that one could not look everywhere, never that something was
seen and left.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import ClassVar

import trio

from ..._model import Proof, Strength
from .._spawner import Child, Helper, Spawner
from ._proc import (
    Claim,
    Stat,
    attribute,
    describe_all,
    is_same,
    search,
    signal_process,
    ticks_now,
    wait_dead,
)
from .base import Box, Containment
from .spare import RAN_OUT, SpareFds

DETAIL = "process group gone; nothing found by session, cookie, output or parent"


class GroupBox(Box):
    """The process group of one attempt, and whoever left it and can be named."""

    def __init__(self, owner: ProcessGroup, key: int, cookie: bytes) -> None:
        self.cookie = cookie
        self._owner = owner
        self._key = key
        self._child: Child | None = None
        self._helper: Helper | None = None
        self._pipes: frozenset[int] = frozenset()
        # Before the spawn: whatever a search finds of it is younger.
        self._start = ticks_now()
        self._forced = False
        self._kick = trio.Event()
        self._found: list[Stat] = []

    def __repr__(self) -> str:
        return f"<GroupBox {self._key} {self._child!r}>"

    def started(self, child: Child, helper: Helper, pipes: frozenset[int]) -> None:
        self._child, self._helper, self._pipes = child, helper, pipes

    def claim(self) -> Claim:
        assert self.cookie is not None
        # When the helper is dead nobody keeps the leader's number from being given away.
        pinned = self._helper is not None and self._helper.alive
        leader = self._child.pid if pinned and self._child is not None else None
        return Claim(self.cookie, leader, self._pipes, self._start)

    def _signal_group(self, number: signal.Signals) -> None:
        if self._helper is not None and self._child is not None:
            self._helper.signal_group(self._child, number)

    async def terminate(self) -> None:
        self._signal_group(signal.SIGTERM)
        self._signal_group(signal.SIGCONT)
        for stat in await self._owner.find(self._key):
            if self._child is None or stat.pgid != self._child.pid:
                self._owner.signal(stat, signal.SIGTERM, signal.SIGCONT)

    def kill(self) -> None:
        self._forced = True
        self._signal_group(signal.SIGKILL)
        self._kick.set()

    async def gone(self) -> Proof:
        if self._child is not None and self._child.failure is not None:
            self.discard()
            return Proof("never_started", detail="no process was started")
        while await self._look():
            if self._forced:
                for stat in self._found:
                    self._owner.signal(stat, signal.SIGKILL)
            await self._until_dead_or_kicked()
        self.discard()
        return Proof("process_group_gone", Strength.BEST_EFFORT, DETAIL)

    def discard(self) -> None:
        self._owner.boxes.pop(self._key, None)
        if self._helper is not None and self._child is not None and self._child.pid is not None:
            self._helper.release(self._child)

    async def _look(self) -> bool:
        self._kick = trio.Event()
        self._found = await self._owner.find(self._key)
        return bool(self._found)

    async def _until_dead_or_kicked(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_on_kick, nursery.cancel_scope)
            for stat in self._found:
                await self._owner.wait_dead(stat)
            nursery.cancel_scope.cancel()

    @trio.lowlevel.enable_ki_protection
    async def _end_on_kick(self, scope: trio.CancelScope) -> None:
        await self._kick.wait()
        scope.cancel()

    def survivors(self) -> tuple[str, ...]:
        leader = self._child.pid if self._child is not None else None
        pids = [stat.pid for stat in self._found if is_same(stat)]
        if leader is not None and not self._found:
            pids.append(leader)
        return describe_all(pids)


class ProcessGroup(Containment):
    """Containment by session, process group and search.

    Args:
        uuid: what the cookies begin with.
    """

    name: ClassVar[str] = "process_group"

    def __init__(self, uuid: str) -> None:
        self.boxes: dict[int, GroupBox] = {}
        self._uuid = uuid
        self._count = 0
        self._searching = trio.Lock()
        self._begun = 0
        self._latest: dict[int, list[Stat]] = {}
        # Of its own: jobs that keep all of Trio's threads busy must not keep others from ending.
        self._limiter = trio.CapacityLimiter(1)
        self._narrow = trio.Lock()

    @asynccontextmanager
    async def open(self, nursery: trio.Nursery) -> AsyncIterator[Spawner]:
        async with AsyncExitStack() as stack:
            self._spare = SpareFds()
            stack.callback(self._spare.close)
            self._spawner = Spawner(nursery)
            stack.push_async_callback(self._spawner.aclose)
            yield self._spawner

    def box(self) -> GroupBox:
        self._count += 1
        box = GroupBox(self, self._count, f"{self._uuid}:{self._count}".encode())
        self.boxes[self._count] = box
        return box

    async def find(self, key: int) -> list[Stat]:
        """The living processes of one box; one search serves all who asked before it began."""
        wanted = self._begun + 1
        async with self._searching:
            if self._begun < wanted:
                self._begun += 1
                self._latest = await self._search()
            return self._latest.get(key, [])

    async def _search(self) -> dict[int, list[Stat]]:
        helper = self._spawner.current
        strangers = frozenset([os.getpid()] + ([helper.pid] if helper is not None else []))
        since = min((box.claim().start for box in self.boxes.values()), default=0)
        found = await trio.to_thread.run_sync(
            self._spare.use, lambda: search(since, strangers), limiter=self._limiter
        )
        # Claims are made after the search. A command that started meanwhile has its box; without it
        # its process would look like an orphan of another command.
        claims = {key: box.claim() for key, box in self.boxes.items()}
        return attribute(found, claims, helper.pid if helper is not None else None)

    def signal(self, stat: Stat, *numbers: signal.Signals) -> None:
        self._spare.use(lambda: signal_process(stat.pid, lambda: is_same(stat), *numbers))

    async def wait_dead(self, stat: Stat) -> None:
        try:
            await wait_dead(stat)
        except OSError as error:
            if error.errno not in RAN_OUT:
                raise
            async with self._narrow:
                self._spare.give_up()
                try:
                    await wait_dead(stat)
                finally:
                    self._spare.refill()
