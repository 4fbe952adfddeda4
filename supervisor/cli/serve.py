"""`serve`: a supervisor behind a control channel, until a signal or a client ends it.

The first signal cancels all jobs, the second kills them, the third leaves at once; the channel
stays up until the last job is dead. Code of this process that does not end is named after
--stop-timeout, and the process leaves without it.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import attrs
import click

from .certificates import read_certificate, server_context
from .endpoint import Endpoint, published
from .exits import Exit, usage_error
from .listen import Listen, Port, Socket, Told, parse_host, parse_listen
from .origins import parse_origin
from .output import print_document, say
from .private import ensure_token, runtime_directory
from .text import count_of, one_line, own_places
from .verbs import json_option

if TYPE_CHECKING:
    import ssl

    import trio

    from .._model import Job
    from .._registry import Registry
    from .._server import Address, Peers, Token, UnixAddress
    from .serving import ServedSupervisor
    from .signals import Stops

__all__ = ["command"]


@attrs.frozen
class Tls:
    """What a server shows, and what it proves that with."""

    certificate: str
    context: ssl.SSLContext


@attrs.frozen(kw_only=True)
class Settings:
    """What to serve, and how."""

    registry: Registry
    listen: tuple[Listen, ...]
    tls: Tls | None
    hosts: tuple[str, ...]
    peers: tuple[int, ...]
    socket_mode: int
    origins: tuple[str, ...]
    token_file: Path
    slots: int | None
    stop_timeout: float
    as_json: bool


@click.command("serve")
@click.option("--app", metavar="MODULE:ATTR", help="Registry of the jobs that have a name.")
@click.option(
    "--listen", multiple=True, default=("127.0.0.1:0",), show_default=True,
    metavar="HOST:PORT|unix:PATH",
    help="Where to listen; port 0 takes a free one, which the other commands find. Repeatable.",
)  # fmt: skip
@click.option(
    "--allow-host", multiple=True, metavar="NAME",
    help="A name or address under which clients reach this server from elsewhere. Repeatable.",
)  # fmt: skip
@click.option(
    "--tls-cert", type=click.Path(path_type=Path), metavar="FILE",
    help="Speak TLS at ports; the certificate, and those between it and its authority.",
)  # fmt: skip
@click.option(
    "--tls-key", type=click.Path(path_type=Path), metavar="FILE",
    help="The certificate's key, in a file that only its owner can read.",
)  # fmt: skip
@click.option(
    "--trust-peer-uid", type=int, multiple=True, metavar="UID",
    help="A user of this machine who needs no token on a Unix socket, by number. Repeatable.",
)  # fmt: skip
@click.option(
    "--socket-mode", default="600", show_default=True, metavar="MODE",
    help="Who may connect to a Unix socket at all, in octal.",
)  # fmt: skip
@click.option(
    "--allow-origin", multiple=True, metavar="ORIGIN",
    help="Web pages that may connect, as http://127.0.0.1:8000. Repeatable.",
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
    app: str | None, listen: tuple[str, ...], tls_cert: Path | None, tls_key: Path | None,
    trust_peer_uid: tuple[int, ...], socket_mode: str, allow_host: tuple[str, ...],
    allow_origin: tuple[str, ...], token_file: Path | None, slots: int | None,
    stop_timeout: float, as_json: bool,
) -> int:  # fmt: skip
    """Serve a supervisor at ports and Unix sockets.

    Prints where it can be reached once it accepts. SIGINT or SIGTERM cancels all jobs and waits
    until they are gone; a second one kills them; a third leaves at once.
    """
    import trio

    from .._registry import Registry

    places = tuple(map(parse_listen, listen))
    hosts = tuple(map(parse_host, allow_host))
    tls = _tls(tls_cert, tls_key, places)
    mode = _socket_mode(socket_mode)
    _check_peers(trust_peer_uid, mode, places)
    if app is None:
        registry = Registry()
    else:
        from .app import load_app

        registry = load_app(app)
    settings = Settings(
        registry=registry,
        listen=places,
        hosts=hosts,
        tls=tls,
        peers=trust_peer_uid,
        socket_mode=mode,
        origins=tuple(map(parse_origin, allow_origin)),
        token_file=(token_file or _default_token_file()).absolute(),
        slots=slots,
        stop_timeout=stop_timeout,
        as_json=as_json,
    )
    return trio.run(_serve, settings)


def _tls(
    certificate: Path | None, key: Path | None, places: Sequence[Listen]
) -> Tls | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        given, missing = ("--tls-key", "--tls-cert")[:: 1 if certificate is None else -1]
        raise usage_error(f"{given} needs {missing}, too: a certificate and its key")
    if not any(isinstance(place, Port) for place in places):
        raise usage_error(
            "--tls-cert is for ports, and --listen names none; what goes through a Unix socket "
            "does not leave the machine"
        )
    return Tls(read_certificate(certificate), server_context(certificate, key))


def _socket_mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777 or not mode & stat.S_IWUSR:
        raise usage_error(
            f"--socket-mode {text!r}: write it as 600 (only you), 660 (your group) or 666 "
            "(everybody, who then needs a token)"
        )
    return mode


def _check_peers(uids: Sequence[int], mode: int, places: Sequence[Listen]) -> None:
    if not any(isinstance(place, Socket) for place in places):
        if uids:
            raise usage_error("--trust-peer-uid is for Unix sockets; add --listen unix:PATH")
        if mode != 0o600:
            raise usage_error("--socket-mode is for Unix sockets; add --listen unix:PATH")
    for uid in uids:
        if uid not in (0, os.geteuid()) and not mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise usage_error(
                f"uid {uid} cannot connect to a socket of mode {mode:04o}; add --socket-mode 660 "
                "if it is in your group, or --socket-mode 666"
            )


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
                addresses = await _listen(channel, sup, settings, token)
                endpoint = _endpoint(settings, sup, addresses)
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
) -> tuple[Address | UnixAddress, ...]:
    from .._server import TcpPlace, UnixPlace, serve_places

    context = settings.tls.context if settings.tls is not None else None
    peers = _peers(settings, token)
    places = [
        Told(
            TcpPlace(host=listen.host, port=listen.port, ssl_context=context)
            if isinstance(listen, Port)
            else UnixPlace(path=listen.path, mode=settings.socket_mode, peers=peers),
            listen,
        )
        for listen in settings.listen
    ]
    addresses: tuple[Address | UnixAddress, ...] = await channel.start(
        partial(
            serve_places,
            sup,
            places,
            auth=token,
            allowed_hosts=settings.hosts,
            allowed_origins=settings.origins,
        )
    )
    return addresses


def _peers(settings: Settings, token: Token) -> Peers:
    """Who needs no token: the name of each goes on record."""
    from secrets import token_urlsafe

    from .._server import Peers, Token

    try:
        return Peers(
            {
                # A secret that nobody learns: this token is not asked for.
                uid: token if uid == os.geteuid() else Token(_user_name(uid), token_urlsafe())
                for uid in settings.peers
            }
        )
    except ValueError as exc:
        raise usage_error(f"--trust-peer-uid: {exc}") from None


def _user_name(uid: int) -> str:
    from pwd import getpwuid

    try:
        return getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return f"uid-{uid}"


def _endpoint(
    settings: Settings, sup: ServedSupervisor, addresses: Sequence[Address | UnixAddress]
) -> Endpoint:
    from .._server import Address

    # A port before a socket: whatever program follows the address knows what to do with it.
    first = next((it for it in addresses if isinstance(it, Address)), addresses[0])
    return Endpoint(
        url=first.url,
        http_url=first.http_url,
        token_file=str(settings.token_file),
        instance=sup.instance,
        pid=os.getpid(),
        urls=tuple(address.url for address in addresses),
        certificate=settings.tls.certificate if settings.tls is not None else None,
    )


def _token(settings: Settings) -> Token:
    from getpass import getuser

    from .._server import Token

    try:
        name = getuser()
    except (OSError, KeyError):  # a uid without a name
        name = f"uid-{os.getuid()}"
    return Token(name, ensure_token(settings.token_file))


def _announce(settings: Settings, sup: ServedSupervisor, endpoint: Endpoint) -> None:
    if settings.as_json:
        print_document(endpoint.document())
        return
    places = " and ".join(endpoint.urls)
    say(f"serving at {places} (token in {endpoint.token_file}); Ctrl+C ends it")
    if sup.why_not_cgroup2 is not None:
        say(f"commands run in process groups, not cgroups: {sup.why_not_cgroup2}")
    for uid in settings.peers:
        say(f"uid {uid} needs no token on the Unix socket")
    for listen in settings.listen:
        if isinstance(listen, Port) and listen.is_open and settings.tls is None:
            say(f"{listen.host} is open to the network, and the token travels unencrypted")


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
