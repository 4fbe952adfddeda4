"""Find a race in code that knows nothing of jobs: prices are loaded once, until they are forgotten.

A price that changes while it is loaded is kept although it is out of date. Ordinary runs do not
show it; `explore` tries every order, tells the one that breaks, and says when there is none left.
Run it: python examples/find_a_race.py
"""

from collections.abc import Awaitable, Callable

import trio

from supervisor.testing import RaceFound, explore


class Prices:
    def __init__(self, load: Callable[[str], Awaitable[int]]) -> None:
        self.load = load
        self.known: dict[str, int] = {}

    async def get(self, item: str) -> int:
        if item not in self.known:
            self.known[item] = await self.load(item)
        return self.known[item]

    def forget(self, item: str) -> None:
        self.known.pop(item, None)


class MendedPrices(Prices):
    """Looks again after it has waited: whatever was forgotten meanwhile is loaded anew."""

    times_forgotten = 0

    async def get(self, item: str) -> int:
        while item not in self.known:
            before = self.times_forgotten
            price = await self.load(item)
            if self.times_forgotten == before:
                self.known[item] = price
        return self.known[item]

    def forget(self, item: str) -> None:
        self.times_forgotten += 1
        super().forget(item)


async def a_price_changes(kind: type[Prices] = Prices) -> None:
    """The scenario makes everything anew, and asserts what must hold in every order."""
    in_the_shop = 10

    async def load(item: str) -> int:
        await trio.lowlevel.checkpoint()  # the question is under way
        price = in_the_shop
        await trio.lowlevel.checkpoint()  # the answer is under way
        return price

    async def change() -> None:
        nonlocal in_the_shop
        in_the_shop = 12
        prices.forget("tea")

    prices = kind(load)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(prices.get, "tea")
        nursery.start_soon(change)
    assert await prices.get("tea") == 12, "the old price is still there"


async def a_mended_price_changes() -> None:
    await a_price_changes(MendedPrices)


if __name__ == "__main__":
    for _ in range(100):
        trio.run(a_price_changes)
    print("100 ordinary runs find nothing")
    try:
        explore(a_price_changes)
    except RaceFound as race:
        print(race)
    print("mended:", explore(a_mended_price_changes))
