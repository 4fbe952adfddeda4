"""A server as a program of its own would make it: quick bookmarks, a page that may connect.

python foreign_program.py ORIGIN BOOKMARK_SECONDS: prints where it is, as `serve --json` does.
"""

from __future__ import annotations

import json
import secrets
import sys
from functools import partial
from pathlib import Path

import trio
from foreign_jobs import registry

import supervisor


async def main(origin: str, bookmark_seconds: float) -> None:
    file = Path("token")
    token = file.read_text() if file.exists() else secrets.token_urlsafe()
    file.write_text(token)
    async with supervisor.open_supervisor(registry) as sup, trio.open_nursery() as nursery:
        serve = partial(
            supervisor.serve,
            sup,
            auth=supervisor.Token("browser", token),
            allowed_origins=[origin],
            limits=supervisor.Limits(bookmark_seconds=bookmark_seconds),
        )
        address = await nursery.start(serve)
        told = {"url": address.url, "http_url": address.http_url, "instance": sup.instance}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], float(sys.argv[2]))
