"""`serve`: a supervisor behind a control channel, until a signal or a client ends it.

The first signal cancels all jobs, the second kills them, the third leaves at once; the channel
stays up until the last job is dead. Code of this process that does not end is named after
--stop-timeout, and the process leaves without it.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import attrs
import click

from .endpoint import Endpoint, published
from .exits import CliError, Exit, single, usage_error
from .output import print_document, say
from .private import ensure_token, runtime_directory
from .text import count_of, one_line, own_places
from .verbs import json_option

if TYPE_CHECKING:
    import trio

    from .._model import Job
    from .._registry import Registry
    from .._server import Address, Token
    from .serving import ServedSupervisor
    from .signals import Stops

__all__ = ["command", "parse_listen"]

LOOPBACK = ("127.", "::1", "localhost")


@attrs.frozen(kw_only=True)
class Settings:
    """What to serve, and how."""

    registry: Registry
    host: str
    port: int
    token_file: Path
    slots: int | None
    stop_timeout: float
    as_json: bool


@click.command("serve")
@click.option("--app", metavar="MODULE:ATTR", help="Registry of the jobs that have a name.")
@click.option(
    "--listen", default="127.0.0.1:0", show_default=True, metavar="HOST:PORT",
    help="Where to listen; port 0 takes a free one, which the other commands find.",
)  # fmt: skip
@click.option(
    "--token-file", type=click.Path(path_type=Path), metavar="FILE",
    help="File with the token; made if it is missing. By default in the user's runtime directory.",
)  # fmt: skip
@click.option("--slots", type=click.IntRange(min=1), metavar="N", help="Jobs at a time; else any.")
@click.option(
    "--stop-timeout", type=click.FloatRange(min=0), default=30.0, show_default=True, metavar="S",
    help="Seconds that code which does not end can hold up the exit.",
)  # fmt: skip
@json_option
def command(
    app: str | None, listen: str, token_file: Path | None, slots: int | None,
    stop_timeout: float, as_json: bool,
) -> int:  # fmt: skip
    """Serve a supervisor on a port.

    Prints where it can be reached once it accepts. SIGINT or SIGTERM cancels all jobs and waits
    until they are gone; a second one kills them; a third leaves at once.
    """
    import trio

    from .._registry import Registry

    host, port = parse_listen(listen)
    if app is None:
        registry = Registry()
    else:
        from .app import load_app

        registry = load_app(app)
    settings = Settings(
        registry=registry,
        host=host,
        port=port,
        token_file=(token_file or _default_token_file()).absolute(),
        slots=slots,
        stop_timeout=stop_timeout,
        as_json=as_json,
    )
    return trio.run(_serve, settings)


def parse_listen(text: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`, `[IPV6]:PORT` or `PORT` (on the loopback).

    Raises:
        CliError: it is none of these.
    """
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.%\w]+)\]:|([^:\[\]]+):)?([0-9]{1,5})", text)
    if found is None or int(found[3]) > 65535:
        raise usage_error(
            f"--listen {text!r}: write it as HOST:PORT, such as 127.0.0.1:8765, [::1]:8765, or "
            "0.0.0.0:8765 for all addresses"
        )
    return found[1] or found[2] or "127.0.0.1", int(found[3])


def _default_token_file() -> Path:
    directory = runtime_directory(create=True)
    assert directory is not None
    return directory / "token"


async def _serve(settings: Settings) -> int:
    import trio

    from .serving import ServedSupervisor
    from .signals import open_stops

    token = _token(settings)
    sup = ServedSupervisor(settings.registry, settings.slots)
    with open_stops() as stops:
        async with sup.open(), trio.open_nursery() as helpers:
            async with trio.open_nursery() as channel:
                address = await _listen(channel, sup, settings, token)
                endpoint = Endpoint(
                    url=address.url,
                    http_url=address.http_url,
                    token_file=str(settings.token_file),
                    instance=sup.instance,
                    pid=os.getpid(),
                )
                with published(endpoint) as file:
                    leave = partial(_leave, sup, file, stops)
                    # All of them only wait for something, until the channel has closed.
                    helpers.start_soon(_heed, sup, stops, leave)
                    helpers.start_soon(_name_stuck, sup)
                    helpers.start_soon(_give_up_in_time, sup, settings.stop_timeout, leave)
                    _announce(settings, sup, endpoint)
                    await sup.drained.wait()
            helpers.cancel_scope.cancel("the channel is closed")
    return stops.code or Exit.DONE


async def _listen(
    channel: trio.Nursery, sup: ServedSupervisor, settings: Settings, token: Token
) -> Address:
    from .._server import serve

    run = partial(serve, sup, settings.host, settings.port, auth=token)
    try:
        address: Address = await channel.start(run)
    except (OSError, ExceptionGroup) as exc:
        error = single(exc)
        raise (_cannot_listen(settings, error) if isinstance(error, OSError) else error) from exc
    return address


def _token(settings: Settings) -> Token:
    from getpass import getuser

    from .._server import Token

    try:
        name = getuser()
    except (OSError, KeyError):  # a uid without a name
        name = f"uid-{os.getuid()}"
    return Token(name, ensure_token(settings.token_file))


def _cannot_listen(settings: Settings, exc: OSError) -> CliError:
    place = f"{settings.host}:{settings.port}"
    if exc.errno == errno.EADDRINUSE:
        return CliError(
            f"port {settings.port} of {settings.host} is taken; choose another with --listen, "
            f"or any free one with --listen {settings.host}:0",
            Exit.UNAVAILABLE,
        )
    if exc.errno in (errno.EACCES, errno.EPERM):
        return CliError(
            f"listening on {place} is not allowed; choose a port from 1024 on with --listen",
            Exit.REFUSED,
        )
    why = exc.strerror or str(exc)
    if isinstance(exc, socket.gaierror):
        why = f"there is no address of that name ({why})"
    return CliError(f"cannot listen on {place}: {why}; see --listen", Exit.UNAVAILABLE)


def _announce(settings: Settings, sup: ServedSupervisor, endpoint: Endpoint) -> None:
    if settings.as_json:
        print_document(endpoint.document())
        return
    say(f"serving at {endpoint.url} (token in {endpoint.token_file}); Ctrl+C ends it")
    if sup.why_not_cgroup2 is not None:
        say(f"commands run in process groups, not cgroups: {sup.why_not_cgroup2}")
    if not settings.host.startswith(LOOPBACK):
        say(f"{settings.host} is open to the network, and the token travels unencrypted")


# --- stopping ------------------------------------------------------------------------------------


async def _heed(sup: ServedSupervisor, stops: Stops, leave: partial[NoReturn]) -> None:
    from .._model import JobFilter

    async for count in stops:
        live = len(sup.live_jobs())
        if count == 1:
            say(f"cancelling {count_of(live, 'job')}; again: kill them, a third time: leave")
            sup.shutdown_nowait("cancel")
        elif count == 2:
            say(f"killing {count_of(live, 'job')}")
            sup.shutdown_nowait("cancel", grace=0)
            await sup.cancel_many(JobFilter(), force=True, reason="asked to stop a second time")
        else:
            leave()


async def _name_stuck(sup: ServedSupervisor) -> None:
    """While we wait for jobs to end: say which of them do not."""
    from .._errors import ReplayGone
    from .._model import JobEvent, JobState

    await sup.stopping.wait()
    named: set[str] = set()
    while True:
        with suppress(ReplayGone):  # so many events: look at all jobs again
            async with sup.watch() as events:
                for job in sup.live_jobs(JobState.STUCK):
                    _say_stuck(job.id, job.why, job.where, named)
                async for event in events:
                    if isinstance(event, JobEvent) and event.type == "job.stuck":
                        why, where = event.data.get("why"), event.data.get("where", ())
                        _say_stuck(event.job_id, why, where, named)
                return


def _say_stuck(job_id: str, why: str | None, where: Sequence[str], named: set[str]) -> None:
    if job_id not in named:
        named.add(job_id)
        places = "; ".join(own_places(where)) or "it is not known where"
        say(one_line(f"job {job_id} is stuck: {why}: {places}", 1000))


async def _give_up_in_time(
    sup: ServedSupervisor, seconds: float, leave: partial[NoReturn]
) -> None:
    import trio

    await sup.stopping.wait()
    await trio.sleep(seconds)
    leave()


def _leave(sup: ServedSupervisor, file: Path, stops: Stops) -> NoReturn:
    """Save (in memory there is nothing to), name what is alive, and go."""
    from .signals import leave_now

    for job in sup.live_jobs():
        say(f"left behind: {_describe(job)}")
    file.unlink(missing_ok=True)
    sys.stderr.flush()
    leave_now(stops.code or Exit.FAILED)


def _describe(job: Job) -> str:
    where = f": {'; '.join(own_places(job.where))}" if job.where else ""
    return one_line(f"job {job.id} ({job.name}), {job.state}{where}", 1000)
