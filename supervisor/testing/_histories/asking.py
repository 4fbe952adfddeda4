"""Somebody asks something of the supervisor: who, what, when, and what the answer was.

`Asking` is what all requests have in common; `starting` and `cancelling` are the requests.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import trio

from ..._errors import ConnectionLost, SupervisorError
from ...abc import JobControl
from .commands import History
from .ground import Ground
from .invariants import broken
from .links import Link
from .requests import Asked, Request, Telling
from .works import Work

__all__ = ["REMEMBERED", "Asking"]

REMEMBERED = 600.0
"""Seconds that a cancel is remembered."""


class Asking:
    """Keeps every request about a job, with its answer, and makes connections that are lost anew.

    Attributes:
        ground: what is really so.
        asked: every request about one job, with its answer.
    """

    def __init__(
        self,
        history: History,
        make_link: Callable[[int | None, int], Link] = Link,
        unfair: int = 0,
    ) -> None:
        self.history = history
        self.unfair = unfair
        self.ground = Ground()
        self.link = make_link(history.slots, unfair)
        self.asked: list[Asked] = []
        self.control: JobControl
        self._connected = True
        self._moments = itertools.count()
        self._latest: dict[str, Work] = {}
        self._requests = 0
        self._answers = 0
        self._waiting: dict[str, int] = defaultdict(int)
        self._starting: dict[str, int] = defaultdict(int)
        self._accepted: dict[str, int] = defaultdict(int)
        self._remembered: dict[str, float] = {}
        self._unsure: set[str] = set()

    @property
    def job_ids(self) -> tuple[str, ...]:
        """Those that this history names."""
        return self.history.job_ids

    async def _asking(self, ask: Callable[[], Any], telling: Telling) -> None:
        self._requests += 1
        control = self.control
        try:
            await ask()
        except ConnectionLost as exc:
            telling.answer = "the connection was lost"
            if self._connected and control is self.control:
                await self.lost(exc)
        self._answers += 1

    async def lost(self, error: ConnectionLost) -> None:
        """The connection ended although nobody ended it: make another."""
        if not self.link.unfair:
            broken("wire", f"nobody ended the connection: {error!r}")
        self.link.unfair -= 1
        await self.reconnect()

    async def reconnect(self) -> None:
        """End the connection, if it stands, and make another."""
        self._connected = False
        self.control = await self.link.reconnect()
        self._connected = True

    def _new_request(self, request: Request, job_id: str, process: str = "player") -> Asked:
        asked = Asked(process, job_id, request, next(self._moments), trio.current_time())
        self.asked.append(asked)
        return asked

    def _answer(self, asked: Asked, answer: object) -> None:
        asked.answer = answer
        asked.back = next(self._moments)
        asked.until = trio.current_time()

    def check_used_up(self, job_id: str) -> None:
        """A remembered cancel serves once."""
        if job_id in (each.job_id for each in self.link.sup.tombstones()):
            broken("I9", f"the cancel remembered for {job_id} is not used up")

    def _others(self) -> bool:
        """Whether somebody else is asking something at this moment."""
        return any(each.back is None and each.process != "player" for each in self.asked)

    def refused(self, asked: Asked, telling: Telling, error: SupervisorError) -> None:
        """Somebody who waited was told this instead."""
        telling.answer = type(error).__name__
        if not isinstance(error, ConnectionLost):
            self._answer(asked, type(error).__name__)
