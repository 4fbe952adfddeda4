"""Our side of row 8: one event of a real supervisor to subscriptions of the real server."""

from __future__ import annotations

from functools import partial

import trio

from supervisor import open_supervisor, serve

from ._case import Figures
from .base_fanout import open_watchers, publish_in_turn
from .our_wire import TOKEN

SUBSCRIBE = '{"jsonrpc":"2.0","id":1,"method":"events.subscribe","params":{}}'


async def wait_until_killed() -> None:
    await trio.sleep_forever()


def subscribed(n: int) -> Figures:
    """A start that has to wait for its turn is one event: `job.pending`."""

    async def main() -> Figures:
        async with open_supervisor(slots=1) as sup, trio.open_nursery() as nursery:
            await sup.start(wait_until_killed)
            address = await nursery.start(partial(serve, sup, auth=TOKEN))
            async with open_watchers(n, address.port, "/ws", TOKEN.secret, SUBSCRIBE) as watchers:
                figures = await publish_in_turn(watchers, n, partial(sup.start, wait_until_killed))
            nursery.cancel_scope.cancel()
        return figures

    return trio.run(main)
