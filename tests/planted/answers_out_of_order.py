"""Answers out of order: the answer that comes last is shown, not that of the last question.

A search box shows what was found for the text before.
"""

from __future__ import annotations

import trio
from trio.lowlevel import checkpoint


class SearchBox:
    def __init__(self) -> None:
        self.text = ""
        self.shown = ""

    async def search(self, text: str) -> None:
        self.text = text
        await checkpoint()  # the server looks
        self.shown = text


class RightSearchBox(SearchBox):
    async def search(self, text: str) -> None:
        self.text = text
        await checkpoint()
        if text == self.text:
            self.shown = text


async def type_on(box: SearchBox) -> None:
    await checkpoint()
    await checkpoint()  # a letter is typed
    await box.search("trio")


async def scenario(box: SearchBox) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(box.search, "tri")
        nursery.start_soon(type_on, box)
    assert box.shown == box.text, f"shows {box.shown} for {box.text}"


async def broken() -> None:
    await scenario(SearchBox())


async def right() -> None:
    await scenario(RightSearchBox())
