"""`run`: a job in the foreground, in a server or in this process; Ctrl+C ends all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .connection import Target, Where, find_target, gone_server, where_options
from .jobs_given import Given, JobCommand, Place, job_options, request_of
from .output import say

if TYPE_CHECKING:
    from .exits import CliError

__all__ = ["command"]


@click.command("run", cls=JobCommand)
@job_options
@where_options
@click.option("--embedded", is_flag=True, help="Without a server, even if there is one.")
@click.option("--app", metavar="MODULE:ATTR", help="Registry of jobs, for an embedded run.")
@click.option(
    "--stop-timeout", type=click.FloatRange(min=0), default=10.0, show_default=True, metavar="S",
    help="Seconds that code which does not end, embedded, can hold up the exit.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print what happens as JSON Lines.")
def command(
    given: Given, url: str | None, token_file: Any, embedded: bool, app: str | None,
    stop_timeout: float, as_json: bool,
) -> int:  # fmt: skip
    """Run a job and wait for its end, its output being ours.

    Uses the server that is found, else runs the job in this process. Ctrl+C cancels the job and
    waits until it is gone; a second one kills it; a third leaves at once.

    A command's stdin is the null device. Through a server, very fast output may lose lines: it
    keeps the last 10,000 or 4 MiB of them; how many are lost is told. With --embedded none is lost
    as long as our output is read.

    \b
      trio-supervisor run -- make -j8
      trio-supervisor run fetch url=https://example.org times=3
    """
    import trio

    target = None
    if not (embedded or (app is not None and url is None)):
        target = find_target(Where(url=url, token_file=token_file))
        if target is None and (gone := gone_server()) is not None:
            say(f"the server at {gone} is gone; running the job here")
    if target is None:
        missing = "--embedded uses no server" if embedded else "no server was found"
        return trio.run(_embedded, given, app, as_json, stop_timeout, missing)
    return trio.run(_in_server, given, target, as_json)


async def _embedded(
    given: Given, app: str | None, as_json: bool, stop_timeout: float, missing: str
) -> int:
    from .._open import open_supervisor
    from .._registry import Registry
    from .app import load_app
    from .foreground import Foreground
    from .signals import open_stops

    request = request_of(given, Place.EMBEDDED)
    if app is None and isinstance(request.work, str):
        raise _nobody_knows(request.work, missing)
    registry = Registry() if app is None else load_app(app)
    with open_stops(last=True) as stops:
        async with open_supervisor(registry) as sup:
            return await Foreground(
                sup, request, as_json=as_json, embedded=True, stop_timeout=stop_timeout
            ).run(stops)


def _nobody_knows(name: str, missing: str) -> CliError:
    """There is neither a server nor a registry to find a job of this name in."""
    from .exits import usage_error

    return usage_error(
        f"{missing}, and there is no registry to find the job {name!r} in; "
        f"to name one: run --app MODULE:ATTR {name}; to run a program: run -- {name}"
    )


async def _in_server(given: Given, target: Target, as_json: bool) -> int:
    from .._errors import ConnectionLost, JobNotFound, SupervisorError
    from .connection import connected
    from .exits import CliError, Exit, explain, single
    from .foreground import Foreground
    from .signals import open_stops

    place = Place.HERE if target.local else Place.THERE
    request = request_of(given, place, on_disconnect="linger")
    run: Foreground | None = None
    try:
        async with connected(target) as client:
            with open_stops() as stops:
                run = Foreground(client, request, as_json=as_json)
                return await run.run(stops)
    except (SupervisorError, ExceptionGroup) as exc:
        error = single(exc)
        # Another server in the place of ours does not know the job.
        if run is None or not run.started or not isinstance(error, ConnectionLost | JobNotFound):
            raise
        look = f"whether job {request.job_id} goes on: trio-supervisor show {request.job_id}"
        raise CliError(f"{explain(error)}; {look}", Exit.UNAVAILABLE) from exc
