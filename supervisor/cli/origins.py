"""`--allow-origin`: the web pages that may connect, as browsers name them (RFC 6454, 6.2)."""

from __future__ import annotations

import re

from .exits import usage_error

__all__ = ["parse_origin"]

ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([^\s/?#@*:\[\]]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
USUAL_PORTS = {"http": "80", "https": "443"}


def parse_origin(text: str) -> str:
    """An origin as a browser will send it: without path, in lower case.

    Raises:
        CliError: no browser sends it like this, or every page without an origin would.
    """
    if text.lower() == "null":
        raise usage_error(
            "--allow-origin null would let in the pages of everybody's files; serve the page, as "
            "with `python3 -m http.server`, and name that origin"
        )
    found = ORIGIN.fullmatch(text.lower())
    if found is None:
        raise usage_error(
            f"--allow-origin {text!r}: write it as http://127.0.0.1:8000 or https://HOST, without "
            "a path or a slash at the end"
        )
    scheme, host, port = found.groups()
    if port == f":{USUAL_PORTS.get(scheme)}":
        port = None  # browsers leave it out
    return f"{scheme}://{host}{port or ''}"
