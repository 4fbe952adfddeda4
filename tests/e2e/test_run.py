"""`run` as a user sees it: output, exit codes, Ctrl+C, and nothing left alive."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from patience import patient

APP = """
import trio, supervisor
registry = supervisor.Registry()

@registry.job
async def add(a: int, b: int = 1) -> int:
    supervisor.current_job().log("adding")
    return a + b

@registry.job
async def fail(text: str) -> None:
    raise RuntimeError(text)

@registry.job
async def stay() -> None:
    with trio.CancelScope(shield=True):
        supervisor.current_job().log("staying")
        await trio.sleep_forever()
"""

# A build that compiles in the background, each compiler in its own way hard to get rid of.
BUILD = """
sh -c 'trap "" TERM; echo stubborn up; while :; do sleep {mark}; done' cc {mark} &
{setsid} sh -c 'echo session up; sleep {mark}; :' cc {mark} &
(sh -c 'sleep {mark} & sleep {mark}; :' cc {mark} &)
echo compiling
wait
echo not reached
"""


@pytest.fixture
def app(shell: Any) -> Any:
    (shell.directory / "app.py").write_text(APP)
    return shell


@pytest.fixture
def build(shell: Any, marker: Any) -> Path:
    from programs import SETSID

    script = Path(shell.directory / "build.sh")
    script.write_text(BUILD.format(mark=marker.text, setsid=SETSID))
    return script


def await_build(started: Any, marker: Any) -> None:
    for line in ("compiling", "stubborn up", "session up"):
        started.until(line)
    assert len(marker.alive()) >= 5


# --- output and exit codes -----------------------------------------------------------------------


def test_output_goes_where_it_belongs(shell: Any) -> None:
    done = shell.run("run", "--", "sh", "-c", "echo out; echo err >&2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err\n")


def test_exit_code_of_the_command_is_told(shell: Any) -> None:
    done = shell.run("run", "--", "sh", "-c", "exit 3")
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"trio-supervisor: job sh-\w+ failed: exit code 3\n", done.stderr)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["/no/such/program"], "does not exist"),
        (["no-such-program-here"], "was not found"),
        (["/etc/passwd"], "not executable"),
    ],
)
def test_command_that_cannot_run_fails_with_the_reason(
    shell: Any, argv: list[str], told: str
) -> None:
    done = shell.run("run", "--", *argv)
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_missing_directory_is_told(shell: Any) -> None:
    done = shell.run("run", "--cwd", "/no/such/directory", "--", "true")
    assert done.returncode == 1
    assert "/no/such/directory" in done.stderr


def test_bytes_pass_through_a_pipe_unchanged(shell: Any) -> None:
    done = shell.run("run", "--", "printf", r"a\377\033[31mb\n")
    assert done.stdout.encode(errors="surrogateescape") == b"a\xff\x1b[31mb\n"


def test_every_line_arrives_once_and_in_order(shell: Any) -> None:
    done = shell.run("run", "--", "seq", "30000")
    assert done.stdout == "".join(f"{n}\n" for n in range(1, 30001))
    assert done.stderr == ""


def test_stdin_is_the_null_device(shell: Any) -> None:
    done = shell.run("run", "--", "cat")
    assert (done.returncode, done.stdout) == (0, "")


def test_embedded_job_runs_in_our_directory_and_environment(shell: Any) -> None:
    done = shell.run("run", "--", "sh", "-c", 'pwd; echo "$OURS"', OURS="x y")
    assert done.stdout == f"{shell.directory}\nx y\n"


def test_token_does_not_reach_the_job(shell: Any) -> None:
    done = shell.run("run", "--embedded", "--", "env", TRIO_SUPERVISOR_TOKEN="secret-one")
    assert "secret-one" not in done.stdout


def test_timeout_ends_the_job(shell: Any, marker: Any) -> None:
    done = shell.run("run", "--timeout", "0.2", "--", "sleep", marker.text)
    assert done.returncode == 1
    assert "timed out after 0.2 s" in done.stderr
    assert not marker.alive()


def test_json_lines_have_the_names_of_the_wire(shell: Any) -> None:
    done = shell.run("run", "--json", "--id", "j1", "--", "sh", "-c", "echo hi; exit 4")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    logs = [line["params"]["text"] for line in lines if line.get("method") == "events.log"]
    assert logs == ["hi"]
    types = [line["params"]["type"] for line in lines if line.get("method") == "events.event"]
    assert types[-1] == "job.finished"
    assert lines[-1]["job"]["id"] == "j1"
    assert lines[-1]["job"]["exit_code"] == 4


# --- registered jobs -----------------------------------------------------------------------------


def test_registered_job_prints_its_result(app: Any) -> None:
    done = app.run("run", "--app", "app:registry", "add", "a=41")
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "adding\n")


def test_registered_job_takes_json(app: Any) -> None:
    done = app.run("run", "--app", "app:registry", "--args", '{"a": 1, "b": 1}', "add", "b=5")
    assert (done.returncode, done.stdout) == (0, "6\n")


def test_failed_job_tells_what_it_raised(app: Any) -> None:
    done = app.run("run", "--app", "app:registry", "fail", "text=\x1b[2Jboom")
    assert done.returncode == 1
    assert "RuntimeError: boom\n" in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["ad", "a=1"], "add"),
        (["add"], "missing required field `a`"),
        (["add", "a=x"], "Expected `int`"),
        (["add", "a=1", "c=1"], "unknown field `c`"),
        (["add", "a=1", "--grace", "-1"], "grace"),
        (["add", "--id", "a b", "a=1"], "job id"),
    ],
)
def test_wrong_words_are_usage_errors(app: Any, words: list[str], told: str) -> None:
    done = app.run("run", "--app", "app:registry", *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_program_without_dashes_is_explained(shell: Any) -> None:
    done = shell.run("run", "make")
    assert done.returncode == 2
    assert "run -- make" in done.stderr


# --- Ctrl+C --------------------------------------------------------------------------------------


def test_ctrl_c_leaves_nothing_of_a_build_alive(shell: Any, marker: Any, build: Path) -> None:
    run = shell.start("run", "--grace", "0.5", "--", "bash", str(build))
    await_build(run, marker)
    run.signal(signal.SIGINT)
    code = run.code()
    assert not marker.alive()
    run.end()
    assert code == 130
    assert "not reached" not in run.out
    assert_not_said_too_early(run.err)


def test_ctrl_c_on_a_terminal(shell: Any, marker: Any, build: Path) -> None:
    run = shell.start_on_terminal("run", "--grace", "0.5", "--", "bash", str(build))
    await_build(run, marker)
    run.press(b"\x03")
    code = run.code()
    assert not marker.alive()
    run.end()
    assert code == 130
    assert_not_said_too_early(run.out)


def assert_not_said_too_early(text: str) -> None:
    """"cancelled" is said once, after all else."""
    *before, last = [line for line in text.splitlines() if "trio-supervisor:" in line]
    assert any("cancelling job" in line for line in before)
    assert "cancelled by user" in last
    assert "cancelled" not in "".join(before)


def test_term_ends_the_job_and_exits_143(shell: Any, marker: Any) -> None:
    run = shell.start("run", "--", "sh", "-c", f"echo up; sleep {marker.text}; :")
    run.until("up")
    run.signal(signal.SIGTERM)
    assert run.end() == 143
    assert not marker.alive()


def test_closed_terminal_ends_the_job(shell: Any, marker: Any) -> None:
    run = shell.start_on_terminal("run", "--", "sh", "-c", f"echo up; sleep {marker.text}; :")
    run.until("up")
    run.close_all()
    assert run.code() == 129
    assert not marker.alive()


def test_what_nohup_ignores_stays_ignored(shell: Any) -> None:
    run = shell.start(
        "run", "--", "sh", "-c", "echo up; sleep 0.5; echo done", prefix=("nohup",)
    )
    run.until("up")
    run.signal(signal.SIGHUP)
    assert run.end() == 0
    assert "done" in run.out


def test_second_ctrl_c_kills(shell: Any, marker: Any) -> None:
    script = f'trap "echo no" TERM; echo up; while :; do sleep {marker.text}; done'
    run = shell.start("run", "--grace", "1000", "--", "sh", "-c", script, marker.text)
    run.until("up")
    run.signal(signal.SIGINT)
    run.until("cancelling job", "err")
    run.signal(signal.SIGINT)
    assert run.end() == 130
    assert not marker.alive()
    assert run.err.count("killing") == 1
    assert "cancelled by user" in run.err.splitlines()[-1]


def test_third_ctrl_c_leaves_at_once_and_says_what_stays(app: Any) -> None:
    run = app.start(
        "run", "--app", "app:registry", "--grace", "1000", "--stop-timeout", "1000", "stay"
    )
    run.until("staying", "err")
    for word in ("again: ask again", "cannot be killed; asking it again", "leaving"):
        run.signal(signal.SIGINT)
        run.until(word, "err")
    assert run.end() == 130
    assert "cancelled" not in run.err
    assert "killing" not in run.err


def test_job_that_does_not_end_is_left_after_a_while(app: Any) -> None:
    run = app.start(
        "run", "--app", "app:registry", "--grace", "0.1", "--stop-timeout", "0.1", "stay"
    )
    run.until("staying", "err")
    run.signal(signal.SIGINT)
    assert run.end() == 130
    assert "is stuck" in run.err
    assert "app.py:" in run.err and "site-packages/trio/" not in run.err
    assert "cancelled" not in run.err


def test_job_that_ends_well_after_ctrl_c_still_exits_130(shell: Any, marker: Any) -> None:
    run = shell.start("run", "--", *patient(marker))
    run.until("up")
    run.signal(signal.SIGINT)
    assert run.end() == 130


# --- pipes and terminals -------------------------------------------------------------------------


def test_closed_pipe_ends_the_job_quietly(shell: Any, marker: Any) -> None:
    script = f"sleep {marker.text} & while :; do echo yes; done"
    run = shell.start("run", "--", "sh", "-c", script, marker.text)
    run.until("yes\nyes\n")
    run.close_out()
    assert run.end() == 141
    assert not marker.alive()
    assert "Traceback" not in run.err and "BrokenPipe" not in run.err


def test_terminal_is_shown_no_control_characters(shell: Any) -> None:
    text = r"\033]0;title\007\033[31mred\033[0m \002b\235tail\n"
    run = shell.start_on_terminal("run", "--", "printf", text)
    assert run.end() == 0
    assert "\x1b" not in run.out and "\x02" not in run.out and "title" not in run.out
    assert "red b" in run.out
