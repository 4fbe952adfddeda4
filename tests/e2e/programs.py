"""What the tests of the command line run: not in conftest, of which there are several."""

from __future__ import annotations

import sys

SETSID = f"{sys.executable} -c 'import os, sys; os.setsid(); os.execvp(sys.argv[1], sys.argv[1:])'"

APP = """
import trio, supervisor

registry = supervisor.Registry()

@registry.job
async def count(to: int) -> int:
    supervisor.current_job().progress(1, to, "\\x1b[31mone [bold]")
    await trio.sleep_forever()

@registry.job
async def stay() -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()
"""
