"""`serve` as a user sees it: what it prints, writes and leaves, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import stat
from pathlib import Path
from typing import Any

import pytest
import trustme
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
    assert set(server.info) == {"url", "urls", "http_url", "token_file", "instance"}
    assert server.info["urls"] == [server.info["url"]]
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


@pytest.mark.parametrize(
    "listen", ["x", "1.2.3.4", "host:x", "::1:80", ":80", "", "unix:"]
)
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


# --- Unix sockets --------------------------------------------------------------------------------


def elsewhere(shell: Any, name: str = "elsewhere") -> dict[str, str]:
    """The environment of a command that finds neither the endpoint file nor the token."""
    (shell.directory / name).mkdir(mode=0o700, exist_ok=True)
    return {"XDG_RUNTIME_DIR": str(shell.directory / name)}


def test_unix_socket_is_found_and_private(shell: Any) -> None:
    path = shell.directory / "s"
    server = shell.serve("--listen", "unix:s")
    assert server.info["url"] == f"ws+unix://{path}:/ws"
    assert mode_of(path) == 0o600
    assert shell.call("list").returncode == 0
    assert shell.call("run", "--", "true").returncode == 0
    server.started.signal(signal.SIGTERM)
    assert server.started.end() == 143
    assert not path.exists()


def test_trusted_user_needs_no_token(shell: Any) -> None:
    shell.serve("--listen", "unix:s", "--trust-peer-uid", str(os.geteuid()))
    url = f"ws+unix://{shell.directory}/s"
    done = shell.run("run", "--url", url, "--id", "j1", "--", "true", **elsewhere(shell))
    assert done.returncode == 0, done.stderr
    assert shell.run("show", "--url", url, "j1", **elsewhere(shell)).returncode == 0
    wrong = elsewhere(shell) | {"TRIO_SUPERVISOR_TOKEN": "wrong"}
    done = shell.run("list", "--url", url, **wrong)
    assert done.returncode == 77
    assert "this token is not known here" in done.stderr


def test_user_that_is_not_trusted_needs_a_token(shell: Any) -> None:
    server = shell.serve("--listen", "unix:s")
    url = f"ws+unix://{shell.directory}/s"
    done = shell.run("list", "--url", url, **elsewhere(shell))
    assert done.returncode == 77
    assert "--token-file" in done.stderr
    token = server.info["token_file"]
    done = shell.run("list", "--url", url, "--token-file", token, **elsewhere(shell))
    assert done.returncode == 0


def test_port_and_socket_at_once(shell: Any) -> None:
    server = shell.serve("--listen", "unix:s", "--listen", "127.0.0.1:0")
    local = f"ws+unix://{shell.directory}/s"
    assert server.info["url"].startswith("ws://127.0.0.1:")
    assert server.info["urls"] == [f"{local}:/ws", server.info["url"]]
    assert shell.call("start", "--id", "j1", "--url", local, "--", "sleep", "1000").returncode == 0
    assert shell.call("cancel", "--url", server.info["url"], "j1").returncode == 0


def test_what_a_killed_server_left_is_replaced(shell: Any) -> None:
    server = shell.serve("--listen", "unix:s")
    server.started.signal(signal.SIGKILL)
    server.started.end()
    assert (shell.directory / "s").is_socket()
    done = shell.run("list", "--url", f"ws+unix://{shell.directory}/s")
    assert done.returncode == 69
    assert len(done.stderr.splitlines()) == 1
    shell.serve("--listen", "unix:s")
    assert shell.call("list").returncode == 0


@pytest.mark.parametrize(
    ("path", "code", "told"),
    [
        ("live", 69, "a server listens at"),
        ("file", 69, "is a file, not a socket"),
        ("directory", 69, "is a directory, not a socket"),
        ("missing/s", 69, "there is no directory"),
        ("x" * 108, 2, "choose a shorter one"),
    ],
)
def test_socket_path_taken(shell: Any, path: str, code: int, told: str) -> None:
    (shell.directory / "file").write_text("kept")
    (shell.directory / "directory").mkdir()
    with socket.socket(socket.AF_UNIX) as live:
        before = os.getcwd()
        os.chdir(shell.directory)
        try:
            live.bind("live")
        finally:
            os.chdir(before)
        live.listen()
        done = shell.call("serve", "--listen", f"unix:{path}")
    assert done.returncode == code
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (shell.directory / "file").read_text() == "kept"
    assert (shell.directory / "live").is_socket()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--trust-peer-uid", "0"], "--trust-peer-uid is for Unix sockets"),
        (["--socket-mode", "666"], "--socket-mode is for Unix sockets"),
        (["--listen", "unix:s", "--socket-mode", "rw"], "write it as 600"),
        (["--listen", "unix:s", "--socket-mode", "0"], "write it as 600"),
        (["--listen", "unix:s", "--socket-mode", "1777"], "write it as 600"),
        (["--listen", "unix:s", "--trust-peer-uid", "12345"], "add --socket-mode 660"),
        (
            ["--listen", "unix:s", "--trust-peer-uid", "65534", "--socket-mode", "666"],
            "it may be anybody",
        ),
        (["--listen", "unix:s", "--trust-peer-uid", "-1", "--socket-mode", "666"], "is no uid"),
        (["--listen", "unix:s", "--tls-cert", "c", "--tls-key", "k"], "--listen names none"),
        (["--allow-host", "https://build.example"], "without scheme and port"),
        (["--allow-host", "build.example:80"], "without scheme and port"),
        (["--tls-cert", "c"], "--tls-cert needs --tls-key"),
        (["--tls-key", "k"], "--tls-key needs --tls-cert"),
    ],
)
def test_options_that_do_not_go_together(shell: Any, words: list[str], told: str) -> None:
    done = shell.call("serve", *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (shell.directory / "s").exists()


# --- TLS -----------------------------------------------------------------------------------------

AUTHORITY = trustme.CA()
CERTIFICATE = AUTHORITY.issue_cert("127.0.0.1")


def tls_files(shell: Any) -> list[str]:
    """The options that make a server speak TLS; `ca` is beside."""
    (shell.directory / "ca").write_bytes(AUTHORITY.cert_pem.bytes())
    (shell.directory / "cert").write_bytes(CERTIFICATE.cert_chain_pems[0].bytes())
    (shell.directory / "key").write_bytes(CERTIFICATE.private_key_pem.bytes())
    (shell.directory / "key").chmod(0o600)
    return ["--tls-cert", "cert", "--tls-key", "key"]


def test_server_with_tls_is_found_and_trusted(shell: Any) -> None:
    server = shell.serve(*tls_files(shell))
    assert server.info["url"].startswith("wss://127.0.0.1:")
    assert server.info["http_url"].startswith("https://127.0.0.1:")
    (file,) = endpoint_files(shell)
    assert mode_of(file) == 0o600
    assert "BEGIN CERTIFICATE" in json.loads(file.read_text())["certificate"]
    assert shell.call("list").returncode == 0
    # What the endpoint file says is worth more than whom others trust.
    assert shell.call("list", TRIO_SUPERVISOR_CA="/no/such/file").returncode == 0
    assert shell.call("run", "--", "true").returncode == 0


def test_authority_is_named_by_an_option_or_the_environment(shell: Any) -> None:
    server = shell.serve(*tls_files(shell))
    there = ["--url", server.info["url"], "--token-file", server.info["token_file"]]
    ca = str(shell.directory / "ca")
    assert shell.run("list", *there, "--tls-ca", ca, **elsewhere(shell)).returncode == 0
    env = elsewhere(shell) | {"TRIO_SUPERVISOR_CA": ca}
    assert shell.run("list", *there, **env).returncode == 0

    done = shell.run("list", *there, **elsewhere(shell))
    assert done.returncode == 69
    assert "the certificate there is not trusted" in done.stderr
    assert "--tls-ca" in done.stderr
    assert len(done.stderr.splitlines()) == 1

    there[1] = there[1].replace("127.0.0.1", "localhost")
    done = shell.run("list", *there, "--tls-ca", ca, **elsewhere(shell))
    assert done.returncode == 69
    assert "not valid for 'localhost'" in done.stderr

    there[1] = server.info["url"].replace("wss:", "ws:")
    done = shell.run("list", *there, "--tls-ca", ca, **elsewhere(shell))
    assert done.returncode == 2
    assert "is not encrypted; write wss://" in done.stderr
    done = shell.run("list", *there, **elsewhere(shell))
    assert done.returncode == 69
    assert "this port speaks TLS" in done.stderr


@pytest.mark.parametrize(
    ("allowed", "called", "status"),
    [
        ("build.example", "build.example", 404),
        ("192.0.2.7", "192.0.2.7:80", 404),
        ("2001:db8::1", "[2001:db8::1]:80", 404),
        ("[2001:db8::1]", "[2001:db8::1]", 404),
        ("build.example", "evil.example", 421),
    ],
)
def test_names_from_elsewhere(shell: Any, allowed: str, called: str, status: int) -> None:
    server = shell.serve("--allow-host", allowed)
    host, _, port = server.info["http_url"].removeprefix("http://").partition(":")
    token = Path(server.info["token_file"]).read_text().strip()
    head = f"GET /x HTTP/1.1\r\nHost: {called}\r\nAuthorization: Bearer {token}\r\n\r\n"
    with socket.create_connection((host, int(port)), 5) as sock:
        sock.sendall(head.encode())
        assert sock.recv(100).split()[1] == str(status).encode()


@pytest.mark.parametrize("data", [None, b"no certificate"])
def test_unusable_authority(shell: Any, data: bytes | None) -> None:
    if data is not None:
        (shell.directory / "ca").write_bytes(data)
    words = ["list", "--url", "wss://127.0.0.1:1/ws", "--tls-ca", "ca"]
    done = shell.call(*words, TRIO_SUPERVISOR_TOKEN="abc")
    assert done.returncode == (77 if data is None else 2)
    assert "certificate file ca" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_key_of_another_certificate(shell: Any) -> None:
    words = tls_files(shell)
    other = AUTHORITY.issue_cert("127.0.0.1")
    (shell.directory / "key").write_bytes(other.private_key_pem.bytes())
    done = shell.call("serve", *words)
    assert done.returncode == 2
    assert "made together" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert endpoint_files(shell) == []


def test_key_that_others_can_read_is_refused(shell: Any) -> None:
    words = tls_files(shell)
    (shell.directory / "key").chmod(0o644)
    done = shell.call("serve", *words)
    assert done.returncode == 77
    assert "chmod 600 key" in done.stderr


def test_with_tls_nothing_travels_unencrypted(shell: Any) -> None:
    started = shell.start("serve", "--listen", "0.0.0.0:0", *tls_files(shell))
    started.until("Ctrl+C ends it\n", "err")
    started.signal(signal.SIGTERM)
    assert started.end() == 143
    assert "unencrypted" not in started.err
    started = shell.start("serve", "--listen", "0.0.0.0:0")
    started.until("travels unencrypted", "err")


def test_oldest_version_is_1_2(shell: Any) -> None:
    server = shell.serve(*tls_files(shell))
    host, _, port = server.info["http_url"].removeprefix("https://").partition(":")
    old = ssl.create_default_context(cafile=shell.directory / "ca")
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection((host, int(port)), 5) as sock,
        pytest.raises(ssl.SSLError),
        old.wrap_socket(sock, server_hostname=host),
    ):
        pass
    assert shell.call("list").returncode == 0


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
