"""The shell completes verbs, ids, names and states."""

from __future__ import annotations

import json
import shutil
import socket
from typing import Any

import pytest

from supervisor.cli import link, verbs


def completed(shell: Any, *words: str, **env: str) -> list[str]:
    """What bash is offered for the last of the words."""
    asked = {
        "_TRIO_SUPERVISOR_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["trio-supervisor", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = shell.call(**asked, **env)
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.split("\n") if line]


@pytest.fixture(scope="module")
def known(common: Any) -> Any:
    common.call("run", "--id", "c-old", "--name", "evil\nname", "--", "true")
    common.call("run", "--id", "c-new", "--name", "my-name", "--", "true")
    return common


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["com"], ["completion"]),
        (["logs", "c-"], ["c-new", "c-old"]),
        (["cancel", "x", "c-n"], ["c-new"]),
        (["list", "--name", "my"], ["my-name"]),
        (["list", "--name", "ev"], []),
        (["list", "--state", "stu"], ["stuck"]),
        (["start", "c"], ["count"]),
        (["start", "count", "c"], []),
    ],
)
def test_words_are_offered(known: Any, words: list[str], offered: list[str]) -> None:
    assert completed(known, *words) == offered


def test_nothing_is_offered_where_nobody_can_be_asked(shell: Any) -> None:
    assert completed(shell, "logs", "c") == []


def test_server_that_does_not_answer_is_not_waited_for(
    shell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verbs, "COMPLETION_SECONDS", 0.05)
    monkeypatch.setattr(link, "CONNECT_SECONDS", 1000)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}/ws"
        env = {"TRIO_SUPERVISOR_URL": url, "TRIO_SUPERVISOR_TOKEN": "x"}
        assert completed(shell, "logs", "c", **env) == []


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_script_says_how_to_install_it(shell: Any, name: str) -> None:
    done = shell.call("completion", name)
    assert done.returncode == 0
    assert "_TRIO_SUPERVISOR_COMPLETE" in done.stdout
    assert f"trio-supervisor completion {name}" in done.stdout.splitlines()[-1]
    told = json.loads(shell.call("completion", "--json", name).stdout)
    assert set(told) == {"shell", "install", "script"}
    assert told["script"] in done.stdout


def test_shell_is_that_of_the_user_if_none_is_named(shell: Any) -> None:
    assert shell.call("completion", SHELL="/bin/fish").stdout.startswith("function _trio")
    unknown = shell.call("completion", SHELL="/bin/ksh")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "bash, zsh, fish" in unknown.stderr


def test_bash_takes_the_script_and_completes(known: Any, tmp_path: Any) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    wrapper = tmp_path / "trio-supervisor"
    wrapper.write_text(f'#!/bin/sh\nexec {known.python} -m supervisor "$@"\n')
    wrapper.chmod(0o755)
    script = """
        eval "$(trio-supervisor completion bash)"
        COMP_WORDS=(trio-supervisor show c-n) COMP_CWORD=2
        _trio_supervisor_completion trio-supervisor
        echo "${COMPREPLY[@]}"
    """
    done = known.execute(bash, "-c", script, PATH=f"{tmp_path}:{known.env['PATH']}")
    assert (done.stdout, done.returncode) == ("c-new\n", 0), done.stderr
