"""`call`: any request of the protocol, with its raw answer.

The server alone knows what a method takes, so nothing is checked here but that it is JSON.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .connection import Where, where_options
from .exits import CliError, Exit, explain, usage_error
from .pretty import print_json
from .verbs import ask_server, json_option

if TYPE_CHECKING:
    from .._client.client import Client
    from .._errors import SupervisorError

__all__ = ["command", "complete_method", "parse_words"]


def complete_method(ctx: click.Context, _: click.Parameter, beginning: str) -> list[str]:
    """Methods for the shell's completion."""
    from .._methods import METHODS

    return [name for name in METHODS if name.startswith(beginning)]


@click.command("call")
@click.argument("method", metavar="METHOD", shell_complete=complete_method)
@click.argument("words", metavar="[PARAMETER]...", nargs=-1, type=click.UNPROCESSED)
@where_options
@json_option
def command(
    method: str,
    words: tuple[str, ...],
    url: str | None,
    token_file: Path | None,
    as_json: bool,
) -> int:
    """Send any request, and print its result as JSON.

    \b
    A parameter is one of
      name=text      its value is this text
      name:=JSON     its value is this JSON, such as 10, true, '["a", "b"]'
      '{...}'        all parameters, as one JSON object; - reads it from stdin

    \b
    trio-supervisor call job.get job_id=build
    trio-supervisor call job.list 'state:=["running", "stuck"]' limit:=10

    `trio-supervisor schema` lists the methods, `schema METHOD` tells what one takes.
    """
    params = parse_words(words)

    async def ask(client: Client) -> int:
        result = await _result(client, method, params, words)
        print_json(result, as_json=as_json)
        return 0

    return ask_server(Where(url=url, token_file=token_file), ask)


async def _result(client: Client, method: str, params: dict[str, Any], words: Iterable[str]) -> Any:
    from .._errors import SupervisorError

    try:
        return await client.request(method, params, lambda value: value)
    except SupervisorError as error:
        raise _told(error, method, words) from error


def _told(error: SupervisorError, method: str, words: Iterable[str]) -> CliError:
    """The error with its name on the wire, a hint where we have one, and the code to leave with."""
    from .._wire import CODES

    known = explain(error)
    code: int = Exit.FAILED if known is None else known.code
    text = str(error if known is None else known)
    if error.kind == "method_not_found":
        code = Exit.USAGE
        text = f"{text}; {_near(method, error.data.get('known'))}"
    elif error.kind == "wait_timeout":
        code = Exit.TOO_SLOW
    elif error.kind in ("invalid_params", "invalid_request"):
        code = Exit.USAGE
        text += _hint(error.data.get("path"), words)
    number = f" ({CODES[error.kind]})" if error.kind in CODES else ""
    return CliError(f"{error.kind}{number}: {text}", code)


def _near(method: str, known: Any) -> str:
    from difflib import get_close_matches

    names = [name for name in known if isinstance(name, str)] if isinstance(known, list) else []
    near = get_close_matches(method, names)
    return f"did you mean {' or '.join(near)}?" if near else "`trio-supervisor schema` lists them"


def _hint(path: Any, words: Iterable[str]) -> str:
    """How to give a number, if that may be what was meant."""
    for word in words:
        found = _WORD.fullmatch(word)
        if found and found[2] == "=" and path == f"$.params.{found[1]}" and _is_json(found[3]):
            return f"; {found[1]}= gives text, {found[1]}:={found[3]} gives JSON"
    return ""


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


_WORD = re.compile(r"([A-Za-z_]\w*)(:?=)(.*)", re.DOTALL | re.ASCII)


def parse_words(words: Iterable[str]) -> dict[str, Any]:
    """What was given as parameters.

    Raises:
        CliError: one is of none of the forms, is no JSON, or comes twice.
    """
    params: dict[str, Any] = {}
    for word in words:
        for name, value in _given(word).items():
            if name in params:
                raise usage_error(f"parameter {name!r} is given twice")
            params[name] = value
    return params


def _given(word: str) -> dict[str, Any]:
    if word == "-":
        return _object(sys.stdin.read() if sys.stdin is not None else "", "stdin")
    if word.lstrip().startswith("{"):
        return _object(word, "the parameters")
    found = _WORD.fullmatch(word)
    if found is None:
        raise usage_error(
            f"{word!r} is no parameter; write name=text, name:=JSON, or one JSON object"
        )
    name, sign, text = found.groups()
    return {name: text if sign == "=" else _json(text, f"{name}:=")}


def _object(text: str, where: str) -> dict[str, Any]:
    value = _json(text, where)
    if not isinstance(value, dict):
        raise usage_error(f'{where}: parameters are one JSON object, such as {{"job_id": "a"}}')
    return value


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        quoted = "; text is given as name=text" if where.endswith(":=") else ""
        raise usage_error(f"{where} is no JSON: {error}{quoted}") from None


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number of JSON")
