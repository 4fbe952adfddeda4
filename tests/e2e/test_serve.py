"""`serve` as a user sees it: what it prints, writes and leaves, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from patience import patient

APP = """
import trio, supervisor
registry = supervisor.Registry()
number = 7
print("printed while it was imported")

@registry.job
async def stay() -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()

class namespace:
    registry = registry
"""


def mode_of(path: str | Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def endpoint_files(shell: Any) -> list[Path]:
    return [*(shell.runtime / "trio-supervisor").glob("*.endpoint.json")]


# --- starting ------------------------------------------------------------------------------------


def test_one_json_line_once_it_accepts(shell: Any) -> None:
    server = shell.serve("--token-file", "token")
    assert set(server.info) == {"url", "http_url", "token_file", "instance"}
    assert server.info["token_file"] == str(shell.directory / "token")
    host, _, port = server.info["http_url"].removeprefix("http://").partition(":")
    socket.create_connection((host, int(port)), 5).close()
    server.started.signal(signal.SIGTERM)
    assert server.started.end() == 143
    assert server.started.out.count("\n") == 1


def test_without_json_a_human_line_on_stderr(shell: Any) -> None:
    started = shell.start("serve")
    started.until("serving at ws://127.0.0.1:", "err")
    started.signal(signal.SIGINT)
    assert started.end() == 130
    assert started.out == ""


def test_token_and_endpoint_files_are_private(shell: Any) -> None:
    server = shell.serve()
    (file,) = endpoint_files(shell)
    assert mode_of(file) == mode_of(server.info["token_file"]) == 0o600
    assert mode_of(file.parent) == 0o700
    told = json.loads(file.read_text())
    assert {name: told[name] for name in server.info} == server.info
    server.started.signal(signal.SIGTERM)
    server.started.end()
    assert endpoint_files(shell) == []
    assert Path(server.info["token_file"]).exists()


def test_token_file_is_used_again(shell: Any) -> None:
    (shell.directory / "token").write_text("a-token-of-mine\n")
    (shell.directory / "token").chmod(0o600)
    shell.serve("--token-file", "token")
    assert (shell.directory / "token").read_text() == "a-token-of-mine\n"
    assert shell.call("list").returncode == 0
    assert shell.call("list", TRIO_SUPERVISOR_TOKEN="another").returncode == 77


def test_what_an_app_prints_is_not_data(shell: Any) -> None:
    (shell.directory / "app.py").write_text(APP)
    server = shell.serve("--app", "app:namespace.registry")
    assert server.started.out.count("\n") == 1


# --- bad input -----------------------------------------------------------------------------------

BROKEN = {
    "syntax.py": "def :",
    "raises.py": "raise ValueError('first\\nsecond \\x1b[31m')",
    "leaves.py": "import sys; sys.exit(0)",
    "needs.py": "import no_such_thing_here",
    "app.py": APP,
}


@pytest.mark.parametrize(
    ("app", "told"),
    [
        ("app", "MODULE:ATTRIBUTE"),
        ("app:", "MODULE:ATTRIBUTE"),
        ("no_such_module:registry", "no module 'no_such_module'"),
        ("app.inner:registry", "no module 'app.inner'"),
        ("app:nothing", "app:registry"),
        ("app:number", "int, not a supervisor.Registry"),
        ("syntax:registry", "SyntaxError"),
        ("raises:registry", "ValueError: first second"),
        ("leaves:registry", "SystemExit"),
        ("needs:registry", "no_such_thing_here"),
    ],
)
def test_app_that_does_not_import(shell: Any, app: str, told: str) -> None:
    for name, text in BROKEN.items():
        (shell.directory / name).write_text(text)
    done = shell.run("serve", "--app", app)
    lines = [line for line in done.stderr.splitlines() if "printed while" not in line]
    assert done.returncode == 2
    assert len(lines) == 1
    assert told in lines[0]
    assert "\x1b" not in done.stderr
    assert done.stdout == ""


def test_port_taken(shell: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = shell.call("serve", "--listen", f"127.0.0.1:{port}")
    assert done.returncode == 69
    assert f"port {port} of 127.0.0.1 is taken" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("listen", ["x", "1.2.3.4", "host:x", "host:70000", "::1:80", ":80", ""])
def test_listen_is_explained(shell: Any, listen: str) -> None:
    done = shell.call("serve", "--listen", listen)
    assert done.returncode == 2
    assert "HOST:PORT" in done.stderr


def test_unknown_host(shell: Any) -> None:
    done = shell.call("serve", "--listen", "no-such-host.invalid:0")
    assert done.returncode == 69
    assert len(done.stderr.splitlines()) == 1


def test_token_file_that_others_can_read_is_refused(shell: Any) -> None:
    token = shell.directory / "token"
    token.write_text("abc")
    token.chmod(0o640)
    done = shell.call("serve", "--token-file", "token")
    assert done.returncode == 77
    assert "chmod 600" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("given", "code"), [("missing/token", 77), (".", 77), ("empty", 2), ("binary", 2)]
)
def test_unusable_token_file(shell: Any, given: str, code: int) -> None:
    for name, data in (("empty", b"\n"), ("binary", b"\xff\xfe\0")):
        (shell.directory / name).write_bytes(data)
        (shell.directory / name).chmod(0o600)
    done = shell.call("serve", "--token-file", given)
    assert done.returncode == code
    assert "token file" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("kind", ["open", "link"])
def test_runtime_directory_of_somebody_else_is_refused(shell: Any, kind: str) -> None:
    squatted = shell.runtime / "trio-supervisor"
    if kind == "link":
        (shell.directory / "elsewhere").mkdir(mode=0o700)
        squatted.symlink_to(shell.directory / "elsewhere")
    else:
        squatted.mkdir(mode=0o777)
        squatted.chmod(0o777)
    for verb in ("serve", "list"):
        done = shell.call(verb)
        assert done.returncode == 77
        assert "not a directory of yours alone" in done.stderr


def test_without_a_session_directory_the_temporary_one_serves(shell: Any) -> None:
    temporary = shell.directory / "tmp"
    temporary.mkdir()
    shell.env |= {"XDG_RUNTIME_DIR": "relative", "TMPDIR": str(temporary)}
    server = shell.serve()
    directory = temporary / f"trio-supervisor-{os.geteuid()}"
    assert mode_of(directory) == 0o700
    assert Path(server.info["token_file"]).parent == directory
    assert shell.run("list").returncode == 0


# --- ending --------------------------------------------------------------------------------------


def test_shutdown_ends_it_with_0(shell: Any, marker: Any) -> None:
    server = shell.serve()
    assert shell.call("start", "--", "sleep", marker.text).returncode == 0
    done = shell.call("shutdown")
    assert (done.returncode, done.stdout) == (0, "")
    assert server.started.end() == 0
    assert not marker.alive()


def test_drain_waits_for_jobs(shell: Any) -> None:
    server = shell.serve()
    result = shell.directory / "result"
    shell.call("start", "--", "sh", "-c", f"sleep 0.5; echo done > {result}")
    assert shell.call("shutdown", "--drain", "--json").stdout == '{"ok": true}\n'
    assert server.started.end() == 0
    assert result.read_text() == "done\n"


def test_signal_cancels_all_jobs_and_the_channel_stays_until_they_are_dead(
    shell: Any, marker: Any
) -> None:
    server = shell.serve()
    run = shell.start("run", "--id", "j1", "--", *patient(marker))
    run.until("up")
    server.started.signal(signal.SIGTERM)
    assert run.end() == 3
    assert "cancelled by shutdown" in run.err
    assert server.started.end() == 143
    assert not marker.alive()


def test_second_signal_kills(shell: Any, marker: Any) -> None:
    server = shell.serve()
    script = f'trap "" TERM; echo up; while :; do sleep {marker.text}; done'
    run = shell.start("run", "--grace", "1000", "--", "sh", "-c", script)
    run.until("up")
    server.started.signal(signal.SIGINT)
    server.started.until("cancelling 1 job;", "err")
    server.started.signal(signal.SIGINT)
    assert server.started.end() == 130
    assert not marker.alive()
    assert run.end() == 3


def test_what_does_not_end_is_named_and_left(shell: Any) -> None:
    (shell.directory / "app.py").write_text(APP)
    server = shell.serve("--app", "app:registry", "--stop-timeout", "0.3")
    shell.call("start", "--id", "j1", "--grace", "0.1", "stay")
    assert shell.call("shutdown").returncode == 0
    assert server.started.end() == 1
    assert "left behind: job j1 (stay)" in server.started.err
    (stuck,) = [line for line in server.started.err.splitlines() if "job j1 is stuck" in line]
    assert "app.py:" in stuck and "site-packages/trio/" not in server.started.err
    assert endpoint_files(shell) == []


def test_third_signal_leaves_at_once(shell: Any) -> None:
    (shell.directory / "app.py").write_text(APP)
    server = shell.serve("--app", "app:registry", "--stop-timeout", "1000")
    shell.call("start", "--id", "j1", "--grace", "1000", "stay")
    for word in ("cancelling 1 job;", "killing 1 job", "left behind: job j1"):
        server.started.signal(signal.SIGTERM)
        server.started.until(word, "err")
    assert server.started.end() == 143


def test_signal_names_what_is_stuck_already(shell: Any) -> None:
    (shell.directory / "app.py").write_text(APP)
    server = shell.serve("--app", "app:registry", "--stop-timeout", "1000")
    shell.call("start", "--id", "j1", "--grace", "0.1", "stay")
    assert shell.call("cancel", "j1").returncode == 1
    server.started.rest()
    assert "stuck" not in server.started.err
    server.started.signal(signal.SIGINT)
    server.started.until("job j1 is stuck: does not leave", "err")
    for word in ("killing 1 job", "left behind: job j1"):
        server.started.signal(signal.SIGINT)
        server.started.until(word, "err")
    assert server.started.end() == 130
    assert server.started.err.count("job j1 is stuck") == 1
