"""`schema`: the OpenRPC document for programs, in words on a terminal."""

from __future__ import annotations

import json

import click
import pytest

from supervisor._methods import METHODS, NOTIFICATIONS
from supervisor._openrpc import document
from supervisor.cli import main, output, schema
from supervisor.cli.exits import CliError
from supervisor.cli.schema import of_one


@pytest.fixture
def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for module in (output, schema):
        monkeypatch.setattr(module, "is_terminal", lambda stream: True)


def test_it_is_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == main(["schema", "--json"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first) == json.loads(second) == json.loads(json.dumps(document()))


def test_no_server_is_asked_unless_it_is_said_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("TRIO_SUPERVISOR_URL", "ws://127.0.0.1:1/ws")
    monkeypatch.setenv("TRIO_SUPERVISOR_TOKEN", "x")
    assert main(["schema"]) == 0
    capsys.readouterr()
    assert main(["schema", "--server"]) == 69
    assert main(["schema", "--url", "ws://127.0.0.1:1/ws"]) == 69
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", [*METHODS, *NOTIFICATIONS])
def test_one_method_comes_with_what_it_refers_to(name: str) -> None:
    one = of_one(document(), name)
    assert [method["name"] for method in one["methods"]] == [name]
    text = json.dumps(one)
    for group in ("schemas", "errors"):
        for key in document()["components"][group]:
            assert (key in one["components"][group]) == (f'#/components/{group}/{key}"' in text)


def test_one_method_is_a_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "job.get"]) == 0
    assert json.loads(capsys.readouterr().out)["openrpc"] == document()["openrpc"]


def test_a_method_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "job.cancle"]) == 2
    assert "did you mean job.cancel" in capsys.readouterr().err
    assert main(["schema", "qqqq"]) == 2
    assert "`schema` alone lists them" in capsys.readouterr().err


@pytest.mark.usefixtures("on_terminal")
def test_somebody_who_looks_reads_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in (*METHODS, *NOTIFICATIONS))
    assert "openrpc" not in told


@pytest.mark.usefixtures("on_terminal")
@pytest.mark.parametrize("name", [*METHODS, *NOTIFICATIONS])
def test_somebody_who_looks_at_one_reads_words(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schema", name]) == 0
    told = capsys.readouterr().out
    assert told.startswith(name)
    (method,) = of_one(document(), name)["methods"]
    assert all(param["name"] in told for param in method["params"])
    assert "\nExample\n{" in told
    assert "$ref" not in told
    assert max(map(len, told.partition("Example")[0].splitlines())) <= 100


@pytest.mark.usefixtures("on_terminal")
def test_choices_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "job.cancel"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "job.cancel (scope cancel) Ask a job to stop." in told
    assert 'wait: accepted or finished, default "accepted"' in told
    assert "job_id: job id, required The job." in told
    assert "certificate: Certificate, may be absent" in told
    assert "Errors invalid_request, " in told and "job_not_found" in told
    assert main(["schema", "job.start"]) == 0
    assert "on_disconnect: keep or cancel or linger\n" in capsys.readouterr().out


@pytest.mark.usefixtures("on_terminal")
def test_json_is_for_programs_also_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--json", "job.get"]) == 0
    assert json.loads(capsys.readouterr().out)["methods"]


def test_what_a_server_says_is_not_believed() -> None:
    with pytest.raises(CliError):
        of_one({"methods": [], "components": {}}, "\x1b[31mx")


def test_methods_are_completed() -> None:
    context = click.Context(schema.command)
    (argument, *_) = schema.command.params
    found = [item.value for item in argument.shell_complete(context, "job.c")]
    assert found == ["job.cancel", "job.cancel_many"]
