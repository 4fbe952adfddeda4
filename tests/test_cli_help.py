"""What the command line says of itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from supervisor import __version__
from supervisor.cli import ALIASES, VERBS, main, trio_supervisor
from supervisor.cli.exits import Exit

NO_CLIENTS = {"serve", "demo", "completion"}
ROOT = Path(__file__).resolve().parent.parent


def command(name: str) -> click.Command:
    assert isinstance(trio_supervisor, click.Group)
    found = trio_supervisor.get_command(click.Context(trio_supervisor), name)
    assert found is not None
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert f"Usage: trio-supervisor {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_prints_json_if_asked(verb: str) -> None:
    assert "--json" in [name for param in command(verb).params for name in param.opts]


@pytest.mark.parametrize("verb", sorted(set(VERBS) - NO_CLIENTS))
def test_every_client_can_be_told_which_server(verb: str) -> None:
    names = {name for param in command(verb).params for name in param.opts}
    assert {"--url", "--token-file"} <= names


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_has_help(verb: str) -> None:
    for param in command(verb).params:
        assert isinstance(param, click.Argument) or (isinstance(param, click.Option) and param.help)


def test_no_summary_is_cut(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["--help"]) == 0
    told = capsys.readouterr().out.partition("Commands:")[2]
    assert "..." not in told


@pytest.mark.parametrize("verb", ["show", "cancel", "wait", "logs"])
def test_help_says_that_a_beginning_of_an_id_will_do(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, "--help"]) == 0
    assert "unique beginning of" in " ".join(capsys.readouterr().out.split())


def test_help_says_what_becomes_of_stdin_and_of_fast_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["start", "--help"]) == main(["run", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert told.count("null device") == 2
    assert "10,000" in told and "--embedded none is lost" in told


def test_table_of_exit_codes_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = " ".join(capsys.readouterr().out.partition("Exit codes:")[2].split())
    codes = {int(number) for number in re.findall(r"(\d+) [a-zA-Z]", told)}
    assert codes == {code for code in Exit if code is not Exit.PIPE_CLOSED}


def test_alias() -> None:
    assert command("ls") is command("list")
    assert set(ALIASES.values()) <= set(VERBS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert __version__ in capsys.readouterr().out


def test_nothing_heavy_is_imported_for_help() -> None:
    program = (
        "import sys; from supervisor.cli import main; before = set(sys.modules); "
        "main(['--help']); heavy = {'trio_websocket', 'rich', 'asyncio', 'supervisor._server'}; "
        "sys.exit(str(heavy & (set(sys.modules) - before) or 0) if heavy & set(sys.modules) "
        "- before else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
