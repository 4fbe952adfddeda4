"""Every verb that asks a server, against a real one."""

from __future__ import annotations

import json
import signal
import socket
from typing import Any

import pytest
from patience import patient

APP = '''
import enum
import trio, supervisor

class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"

registry = supervisor.Registry()

@registry.job
async def count(to: int, step: float = 0.5, colour: Colour = Colour.RED) -> int:
    """Count, slowly.

    And more.
    """
    supervisor.current_job().progress(1, to, "\\x1b[31mone [bold]")
    await trio.sleep_forever()
'''


@pytest.fixture
def served(shell: Any) -> Any:
    (shell.directory / "app.py").write_text(APP)
    shell.serve("--app", "app:registry")
    return shell


def rows(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


def start(shell: Any, job_id: str, *argv: str, **options: str) -> None:
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    done = shell.call("start", "--id", job_id, *words, "--", *argv)
    assert (done.returncode, done.stdout) == (0, f"{job_id}\n")


def record(shell: Any, job_id: str) -> dict[str, Any]:
    job: dict[str, Any] = json.loads(shell.call("show", "--json", job_id).stdout)["job"]
    return job


# --- start ---------------------------------------------------------------------------------------


def test_start_prints_the_id_and_returns(served: Any, marker: Any) -> None:
    done = served.run("start", "--", "sleep", marker.text)
    assert done.returncode == 0
    assert done.stderr == ""
    (job_id,) = done.stdout.split()
    assert served.run("wait", job_id, "--timeout", "0.1").returncode == 5
    assert len(marker.alive()) == 1


def test_start_again_with_the_same_id_says_so(served: Any) -> None:
    start(served, "j1", "true")
    done = served.call("start", "--id", "j1", "--", "true")
    assert (done.returncode, done.stdout) == (0, "j1\n")
    assert "was there already" in done.stderr
    other = served.call("start", "--id", "j1", "--", "false")
    assert other.returncode == 2


def test_started_command_has_our_directory_and_environment(served: Any) -> None:
    (served.directory / "below").mkdir()
    script = 'pwd; echo "$OURS:${TRIO_SUPERVISOR_TOKEN-none}"'
    done = served.call(
        "run", "--cwd", "below", "--", "sh", "-c", script, OURS="x y", TRIO_SUPERVISOR_TOKEN=""
    )
    assert done.stdout == f"{served.directory}/below\nx y:none\n"


def test_server_that_may_be_elsewhere_is_not_sent_our_environment(served: Any) -> None:
    (file,) = (served.runtime / "trio-supervisor").glob("*.endpoint.json")
    told = json.loads(file.read_text())
    done = served.call(
        "run", "--url", told["url"].replace("127.0.0.1", "localhost"),
        "--token-file", told["token_file"], "--", "sh", "-c", 'echo "${OURS-none}"', OURS="x",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "none\n")


def test_start_json_is_the_answer_of_the_wire(served: Any) -> None:
    done = served.call("start", "--json", "--label", "a=b", "count", "to=3")
    answer = json.loads(done.stdout)
    assert set(answer) == {"job", "created", "seq"}
    assert answer["job"]["labels"] == {"a": "b"}


@pytest.mark.parametrize("name", ["coun", "ls"])
def test_unknown_name_lists_the_known(served: Any, name: str) -> None:
    done = served.run("start", name)
    assert done.returncode == 2
    assert "count" in done.stderr and f"start -- {name}" in done.stderr


# --- run with a server ---------------------------------------------------------------------------


def test_run_uses_the_server_that_is_found(served: Any) -> None:
    done = served.run("run", "--id", "j1", "--", "sh", "-c", "echo out; echo err >&2; exit 2")
    assert (done.returncode, done.stdout) == (1, "out\n")
    assert done.stderr.splitlines() == ["err", "trio-supervisor: job j1 failed: exit code 2"]
    assert served.run("show", "j1").returncode == 0


def test_run_embedded_leaves_the_server_alone(served: Any) -> None:
    assert served.call("run", "--embedded", "--id", "j1", "--", "true").returncode == 0
    assert served.call("show", "j1").returncode == 4


def test_run_cancelled_by_another_exits_3(served: Any, marker: Any) -> None:
    run = served.start("run", "--id", "j1", "--", "sh", "-c", f"echo up; sleep {marker.text}; :")
    run.until("up")
    assert served.call("cancel", "j1", "--reason", "not needed").returncode == 0
    assert run.end() == 3
    assert "cancelled by user: not needed" in run.err
    assert not marker.alive()


def test_ctrl_c_on_a_run_in_the_server(served: Any, marker: Any) -> None:
    script = f"echo up; (sleep {marker.text} &); sleep {marker.text}; :"
    run = served.start("run", "--id", "j1", "--", "sh", "-c", script)
    run.until("up")
    run.signal(signal.SIGINT)
    assert run.end() == 130
    assert not marker.alive()
    job = json.loads(served.call("show", "--json", "j1").stdout)["job"]
    assert job["state"] == "cancelled"


def test_run_joins_a_job_of_the_same_id_and_ctrl_c_only_detaches(served: Any) -> None:
    words = ("--id", "j1", "--", "sh", "-c", "echo up; sleep 1000; :")
    first = served.start("run", *words)
    first.until("up")
    second = served.start("run", *words)
    second.until("up")
    second.signal(signal.SIGINT)
    assert second.end() == 130
    assert "goes on" in second.err
    assert record(served, "j1")["state"] == "running"
    assert served.call("cancel", "j1").returncode == 0
    assert first.end() == 3


def test_run_whose_server_dies_says_so(served: Any) -> None:
    run = served.start("run", "--id", "j1", "--", "sh", "-c", "echo up; sleep 1000; :")
    run.until("up")
    served._started[0].process.kill()
    assert run.end() == 69
    assert "trio-supervisor show j1" in run.err
    assert "cancelled" not in run.err


# --- list and show -------------------------------------------------------------------------------


def test_list_is_a_table_of_tabs_in_a_pipe(served: Any) -> None:
    start(served, "a1", "true", label="x=1")
    start(served, "b1", "false", name="other")
    for job_id in ("a1", "b1"):
        served.call("wait", job_id)
    header, first, second = rows(served.call("list").stdout)
    assert header[:3] == ["ID", "NAME", "STATE"]
    assert first[:3] == ["a1", "true", "succeeded"]
    assert second[:3] == ["b1", "other", "failed"]
    assert "exit code 1" in second[-1]
    for words, ids in (
        (("--state", "failed"), ["b1"]),
        (("--state", "failed", "--state", "succeeded"), ["a1", "b1"]),
        (("--name", "other"), ["b1"]),
        (("--label", "x=1"), ["a1"]),
        (("--label", "x=2"), []),
        (("--limit", "1"), ["b1"]),
    ):
        assert [row[0] for row in rows(served.call("ls", *words).stdout)[1:]] == ids


def test_list_json_is_a_page(served: Any) -> None:
    start(served, "a1", "true")
    page = json.loads(served.call("list", "--json").stdout)
    assert set(page) == {"jobs", "instance", "seq"}
    assert page["jobs"][0]["id"] == "a1"


def test_looking_exits_0_whatever_became_of_the_job(served: Any) -> None:
    start(served, "j1", "false")
    assert served.call("wait", "j1").returncode == 1
    assert served.call("show", "j1").returncode == 0
    assert served.call("list", "--state", "failed").returncode == 0


def test_ids_by_their_beginning(served: Any) -> None:
    for job_id in ("build-1", "build-2", "test-1", "build"):
        start(served, job_id, "true")
    assert "test-1" in served.call("show", "t").stdout
    assert json.loads(served.call("show", "--json", "build").stdout)["job"]["id"] == "build"
    done = served.call("show", "build-")
    assert done.returncode == 4
    assert "build-1, build-2" in done.stderr


def test_ended_jobs_do_not_make_a_beginning_ambiguous_for_what_ends_jobs(served: Any) -> None:
    for job_id in ("build-1", "build-2"):
        start(served, job_id, "true")
        served.call("wait", job_id)
    start(served, "build-3", "sleep", "1000")
    assert served.call("show", "build").returncode == 4
    assert served.call("wait", "build", "--timeout", "0.1").returncode == 5
    done = served.call("cancel", "build")
    assert done.returncode == 0
    assert rows(done.stdout)[1][0] == "build-3"
    assert served.call("cancel", "build").returncode == 4


@pytest.mark.parametrize("verb", ["show", "wait", "cancel"])
@pytest.mark.parametrize(("job_id", "code"), [("nobody", 4), ("a b", 2), ("../x", 2), ("", 2)])
def test_unknown_and_odd_ids(served: Any, verb: str, job_id: str, code: int) -> None:
    done = served.call(verb, job_id)
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_show_tells_of_a_cancel_in_full(served: Any, marker: Any) -> None:
    run = served.start("run", "--id", "j1", "--", "sh", "-c", f"echo up; exec sleep {marker.text}")
    run.until("up")
    assert served.call("cancel", "j1", "--reason", "no\x1b[31m longer [red]needed").returncode == 0
    text = served.call("show", "j1").stdout
    for part in ("cancelled", "cooperative", "no longer [red]needed", "proof", "dead", "requested"):
        assert part in text
    assert "\x1b" not in text


# --- cancel --------------------------------------------------------------------------------------


def test_cancel_waits_for_the_proof_and_prints_it(served: Any, marker: Any) -> None:
    run = served.start("run", "--id", "j1", "--", *patient(marker))
    run.until("up")
    done = served.call("cancel", "j1")
    assert not marker.alive()
    header, row = rows(done.stdout)
    assert header == ["ID", "OUTCOME", "STATE", "HOW", "DEAD AFTER", "PROOF"]
    assert row[:4] == ["j1", "cancelling", "cancelled", "cooperative"]
    assert float(row[4].removesuffix(" ms")) >= 200
    assert row[5].endswith(("(certain)", "(best_effort)"))


def test_cancel_again_is_no_failure(served: Any) -> None:
    start(served, "j1", "sleep", "1000")
    assert served.run("cancel", "j1").returncode == 0
    again = served.run("cancel", "j1")
    assert again.returncode == 0
    assert rows(again.stdout)[1][1] == "already_cancelled"


def test_cancel_of_a_finished_job_says_so(served: Any) -> None:
    start(served, "j1", "true")
    served.call("wait", "j1")
    done = served.call("cancel", "j1")
    assert done.returncode == 0
    assert rows(done.stdout)[1][1:3] == ["already_finished", "succeeded"]


def test_cancel_json_is_the_answer_of_the_wire(served: Any) -> None:
    start(served, "j1", "sleep", "1000")
    answer = json.loads(served.call("cancel", "--json", "j1").stdout)
    assert answer["outcome"] == "cancelling"
    assert answer["job"]["state"] == "cancelled"
    assert answer["certificate"]["request_to_dead"] >= 0


def test_cancel_of_several_names_the_unknown_and_cancels_the_rest(served: Any) -> None:
    start(served, "j1", "sleep", "1000")
    start(served, "k1", "sleep", "1000")
    done = served.call("cancel", "j1", "nobody", "k")
    assert done.returncode == 4
    assert [row[0] for row in rows(done.stdout)[1:]] == ["j1", "k1"]
    assert "nobody" in done.stderr
    both = json.loads(served.call("cancel", "--json", "j1", "nobody").stdout)
    assert [set(entry) for entry in both["results"]] == [{"result"}, {"error"}]


def test_cancel_without_waiting_and_with_a_bound(served: Any, marker: Any) -> None:
    script = f'trap "" TERM; echo up; while :; do sleep {marker.text}; done'
    run = served.start("run", "--id", "j1", "--grace", "1000", "--", "sh", "-c", script)
    run.until("up")
    asked = served.call("cancel", "j1", "--no-wait")
    assert asked.returncode == 0
    assert rows(asked.stdout)[1][1:3] == ["cancelling", "cancelling"]
    bounded = served.call("cancel", "j1", "--timeout", "0.2")
    assert bounded.returncode == 5
    assert rows(bounded.stdout)[1][1:3] == ["joined", "cancelling"]
    forced = served.call("cancel", "j1", "--force")
    assert forced.returncode == 0
    assert rows(forced.stdout)[1][1:4] == ["escalated", "cancelled", "forced"]
    assert run.end() == 3


def test_cancel_with_a_smaller_grace(served: Any, marker: Any) -> None:
    script = f'trap "" TERM; echo up; while :; do sleep {marker.text}; done'
    run = served.start("run", "--id", "j1", "--grace", "1000", "--", "sh", "-c", script)
    run.until("up")
    assert rows(served.call("cancel", "j1", "--grace", "0.1").stdout)[1][3] == "forced"


@pytest.mark.parametrize("grace", ["-1", "inf", "nan"])
def test_impossible_durations_are_refused(served: Any, grace: str) -> None:
    start(served, "j1", "sleep", "1000")
    done = served.call("cancel", "j1", "--grace", grace)
    assert done.returncode == 2
    assert "grace" in done.stderr
    assert not record(served, "j1")["cancel_requested"]


def test_cancel_before_the_start(served: Any) -> None:
    asked = served.call("cancel", "early", "--if-unknown", "remember")
    assert asked.returncode == 0
    assert rows(asked.stdout)[1][:2] == ["early", "recorded"]
    done = served.call("run", "--id", "early", "--", "touch", "never")
    assert done.returncode == 3
    assert "never_started" in done.stderr
    assert not (served.directory / "never").exists()


def test_start_after_a_remembered_cancel_says_so(served: Any) -> None:
    served.call("cancel", "early", "--if-unknown", "remember", "--reason", "not wanted")
    done = served.call("start", "--id", "early", "--", "true")
    assert (done.returncode, done.stdout) == (0, "early\n")
    assert "job early was cancelled before it started" in done.stderr
    assert "not wanted" in done.stderr


def test_cancel_shows_how_far_it_is_on_a_terminal(served: Any, marker: Any) -> None:
    script = f'trap "" TERM; echo up; while :; do sleep {marker.text}; done'
    run = served.start("run", "--id", "j1", "--grace", "0.3", "--", "sh", "-c", script)
    run.until("up")
    cancel = served.start_on_terminal("cancel", "j1")
    assert cancel.end() == 0
    assert "job j1: cancel" in cancel.out
    assert "forced" in cancel.out
    assert not marker.alive()


# --- wait ----------------------------------------------------------------------------------------


def test_wait_exits_as_the_job_did(served: Any) -> None:
    start(served, "good", "true")
    start(served, "bad", "false")
    start(served, "gone", "sleep", "1000")
    served.call("cancel", "gone")
    codes = [served.call("wait", job_id).returncode for job_id in ("good", "bad", "gone")]
    assert codes == [0, 1, 3]


def test_wait_times_out_and_leaves_the_job_alone(served: Any) -> None:
    start(served, "j1", "sleep", "1000")
    done = served.call("wait", "--json", "j1", "--timeout", "0.1")
    assert done.returncode == 5
    assert not json.loads(done.stdout)["job"]["cancel_requested"]
    assert "job j1 is still" in done.stderr


def test_ctrl_c_on_wait_only_detaches(served: Any) -> None:
    start(served, "j1", "sleep", "1000")
    wait = served.start_on_terminal("wait", "j1")
    wait.until("waiting for job j1")
    wait.press(b"\x03")
    assert wait.end() == 130
    assert "goes on" in wait.out
    assert not record(served, "j1")["cancel_requested"]


# --- jobs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("app", [(), ("--app", "app:registry")])
def test_jobs_lists_names_and_parameters(served: Any, app: tuple[str, ...]) -> None:
    header, row = rows(served.call("jobs", *app).stdout)
    assert header == ["NAME", "PARAMETERS", "WHAT IT DOES"]
    assert row[0] == "count"
    assert row[1].startswith("to:integer [step:number=0.5] [colour:")
    assert row[2] == "Count, slowly."
    listed = json.loads(served.call("jobs", "--json", *app).stdout)
    assert [job["name"] for job in listed["jobs"]] == ["count"]


def test_progress_is_listed_without_control_characters(served: Any) -> None:
    done = served.call("start", "--id", "j1", "count", "to=3")
    assert done.returncode == 0
    for verb in (("list",), ("show", "j1")):
        text = served.call(*verb).stdout
        assert "1 of 3 one [bold]" in text
        assert "\x1b" not in text


# --- which server --------------------------------------------------------------------------------


def test_no_server(shell: Any) -> None:
    for words in (["list"], ["show", "x"], ["cancel", "x"], ["wait", "x"], ["jobs"], ["shutdown"]):
        done = shell.call(*words)
        assert done.returncode == 69
        assert "trio-supervisor serve" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_server_that_was_killed_is_recognised(shell: Any) -> None:
    server = shell.serve()
    server.started.process.kill()
    server.started.end()
    done = shell.call("list")
    assert done.returncode == 69
    assert f"the server at {server.info['url']} is gone" in done.stderr
    run = shell.call("run", "--", "true")
    assert run.returncode == 0
    assert "is gone; running the job here" in run.stderr
    shell.serve()
    assert shell.call("list").returncode == 0
    assert len([*(shell.runtime / "trio-supervisor").glob("*.endpoint.json")]) == 1


def test_url_where_nobody_listens(shell: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"ws://127.0.0.1:{free.getsockname()[1]}/ws"
    done = shell.call("list", "--url", url, TRIO_SUPERVISOR_TOKEN="x")
    assert done.returncode == 69
    assert url in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("url", ["127.0.0.1:8765", "http://127.0.0.1:1/ws", "ws://", "ws://h:x/"])
def test_url_that_is_none(shell: Any, url: str) -> None:
    done = shell.call("list", "--url", url, TRIO_SUPERVISOR_TOKEN="x")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_url_without_a_token(shell: Any) -> None:
    done = shell.call("list", "--url", "ws://127.0.0.1:1/ws")
    assert done.returncode == 77
    assert "--token-file" in done.stderr


def test_environment_says_where(served: Any) -> None:
    (file,) = (served.runtime / "trio-supervisor").glob("*.endpoint.json")
    told = json.loads(file.read_text())
    file.unlink()
    with open(told["token_file"]) as token:
        env = {"TRIO_SUPERVISOR_URL": told["url"], "TRIO_SUPERVISOR_TOKEN": token.read().strip()}
    assert served.call("list").returncode == 69
    assert served.call("list", **env).returncode == 0
    assert served.call("list", **env | {"TRIO_SUPERVISOR_TOKEN": "wrong"}).returncode == 77
    hint = served.call("list", **env | {"TRIO_SUPERVISOR_TOKEN": "wrong"}).stderr
    assert "--token-file or TRIO_SUPERVISOR_TOKEN" in hint


def test_one_of_several_servers_has_to_be_chosen(shell: Any) -> None:
    first, second = shell.serve(), shell.serve()
    done = shell.call("list")
    assert done.returncode == 2
    assert first.info["url"] in done.stderr and second.info["url"] in done.stderr
    assert shell.call("list", "--url", second.info["url"]).returncode == 0


# --- terminals and pipes -------------------------------------------------------------------------


def test_tables_are_drawn_on_a_terminal_only(served: Any) -> None:
    start(served, "j1", "true", name="[red]x[/red]")
    served.call("wait", "j1")
    shown = served.start_on_terminal("list")
    assert shown.end() == 0
    assert "[red]x[/red]" in shown.out
    assert "\t" not in shown.out and "\x1b[" in shown.out
    plain = served.start_on_terminal("list", NO_COLOR="1")
    assert plain.end() == 0
    assert "\x1b[3" not in plain.out and "succeeded" in plain.out


def test_tables_break_no_id_in_80_columns(served: Any) -> None:
    job_ids = ["a-rather-long-one-" + "x" * 20, "b1"]
    for job_id in job_ids:
        start(served, job_id, "sleep", "1000", name="a name " * 5)
    ended = served.start_on_terminal("cancel", *job_ids, columns=80, NO_COLOR="1")
    assert ended.end() == 0
    for job_id in job_ids:
        (row,) = [line for line in ended.out.splitlines() if line.startswith(job_id)]
        assert "cooperative" in row and ("certain" in row or "best_effort" in row)
    listed = served.start_on_terminal("list", columns=80, NO_COLOR="1")
    assert listed.end() == 0
    for job_id in job_ids:
        (row,) = [line for line in listed.out.splitlines() if line.startswith(job_id)]
        assert "cancelled" in row and row.endswith("…")
    assert len([line for line in listed.out.splitlines() if line.strip()]) == 4


def test_names_cannot_break_the_columns(served: Any) -> None:
    start(served, "j1", "true", name="a\tb\n\x1b[31mc")
    (_, row) = rows(served.call("list").stdout)
    assert row[:2] == ["j1", "a b c"]


def test_closed_pipe_is_no_failure_to_talk_about(served: Any) -> None:
    start(served, "j1", "true")
    listing = served.start("list")
    listing.close_out()
    assert listing.end() == 141
    assert listing.err == ""


# --- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["bogus"],
        ["list", "--state", "bogus"],
        ["list", "--bogus"],
        ["cancel"],
        ["shutdown", "--cancel", "--drain"],
    ],
)
def test_usage(shell: Any, words: list[str]) -> None:
    done = shell.call(*words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
