"""`call` and `schema` against a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest


@pytest.fixture
def served(shell: Any) -> Any:
    shell.serve()
    return shell


def test_any_request_can_be_sent(served: Any) -> None:
    done = served.call("call", "job.run", 'command:=["echo", "hi"]', "job_id=a")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["job"]["state"] == "succeeded"
    done = served.call("call", "job.logs", '{"job_id": "a"}')
    (entry,) = json.loads(done.stdout)["entries"]
    assert entry["text"] == "hi"


def test_what_the_server_refuses_is_told(served: Any) -> None:
    for words, code, told in (
        (("job.get", "job_id=nobody"), 4, "job_not_found (-32001): no job 'nobody'"),
        (("job.get",), 2, "invalid_params (-32602)"),
        (("job.list", "limit=5"), 2, "limit:=5 gives JSON"),
        (("job.lst",), 2, "did you mean job.list"),
        (("job.wait", "job_id=a", "timeout:=0"), 5, "wait_timeout (-32017)"),
    ):
        served.call("call", "job.start", 'command:=["sleep", "1000"]', "job_id=a")
        done = served.call("call", *words)
        assert (done.returncode, done.stdout) == (code, ""), done.stderr
        assert told in done.stderr


def test_there_is_no_server(shell: Any) -> None:
    done = shell.call("call", "session.ping")
    assert done.returncode == 69
    assert "no server was found" in done.stderr


def test_the_server_is_asked_for_its_schema(served: Any) -> None:
    offline = served.call("schema")
    for words in (("schema", "--server"), ("call", "rpc.discover")):
        assert json.loads(served.call(*words).stdout) == json.loads(offline.stdout)
    assert served.call("schema", "--server", "job.nap").returncode == 2


def test_on_a_terminal_it_is_for_people(served: Any) -> None:
    started = served.start_on_terminal("call", "job.list")
    assert started.end() == 0
    assert '"jobs": []' in started.out
    started = served.start_on_terminal("schema", "job.get")
    assert started.end() == 0
    assert "Parameters" in started.out and "job_not_found" in started.out
