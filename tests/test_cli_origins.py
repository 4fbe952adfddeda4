"""`--allow-origin`: what browsers send is taken, and what they never would is refused."""

from __future__ import annotations

import pytest

from supervisor.cli.exits import CliError
from supervisor.cli.origins import parse_origin


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("https://Console.Example", "https://console.example"),
        ("HTTP://[::1]:8000", "http://[::1]:8000"),
        ("http://localhost:80", "http://localhost"),
        ("https://localhost:443", "https://localhost"),
        ("https://localhost:80", "https://localhost:80"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
    ],
)
def test_as_a_browser_sends_it(text: str, origin: str) -> None:
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        "", "*", "127.0.0.1:8000", "http://", "http://*", "http://a/", "http://a/page.html",
        "http://a b", "http://me@a", "http://a:", "http://a:b", "http://a?x", "http://[a",
    ],
)  # fmt: skip
def test_what_no_browser_sends_is_refused(text: str) -> None:
    with pytest.raises(CliError, match=r"write it as http://127\.0\.0\.1:8000"):
        parse_origin(text)


@pytest.mark.parametrize("text", ["null", "NULL"])
def test_pages_without_an_origin_are_never_let_in(text: str) -> None:
    with pytest.raises(CliError, match="everybody's files"):
        parse_origin(text)
