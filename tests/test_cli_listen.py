"""`--listen`: what the user wrote becomes a place, or is refused with the reason."""

from __future__ import annotations

import pytest

from supervisor.cli.exits import CliError, Exit
from supervisor.cli.listen import Listen, Port, Socket, parse_listen


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:0", Port("127.0.0.1", 0)),
        ("host:65535", Port("host", 65535)),
        ("[::1]:00080", Port("::1", 80)),
        ("8765", Port("127.0.0.1", 8765)),
        ("host:" + "0" * 5000, Port("host", 0)),
        ("unix:s", Socket("s")),
        ("unix:///run/s", Socket("/run/s")),
    ],
)
def test_places(text: str, place: Listen) -> None:
    assert parse_listen(text) == place


@pytest.mark.parametrize(
    "text", ["127.0.0.1:99999", "host:65536", "70000", "[::1]:123456", "host:" + "9" * 5000]
)
def test_port_that_is_too_large_is_named_as_the_reason(text: str) -> None:
    with pytest.raises(CliError, match="port is too large; the highest is 65535") as refused:
        parse_listen(text)
    assert refused.value.code == Exit.USAGE


@pytest.mark.parametrize("text", ["x", "host:x", "::1:80", ":80", "", "unix:", "host:-1"])
def test_what_is_no_place_is_told_how_to_write_one(text: str) -> None:
    with pytest.raises(CliError, match="HOST:PORT") as refused:
        parse_listen(text)
    assert refused.value.code == Exit.USAGE
