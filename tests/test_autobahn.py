"""The Autobahn fuzzing suite against our transport: the real door, stream and websocket library,
with an echo where the session would be.

The suite needs Python 2.7; where there is none it is skipped. Left out are its cases about
performance (9) and compression (12, 13), which we do not offer. The rest takes 15 s, and the
installation, which pytest's cache keeps, up to two minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from supervisor import Address, Auth, Limits, Token, open_supervisor, serve
from supervisor._server import server as server_module
from supervisor._server.stream import OutboxStream, text_frame

pytestmark = pytest.mark.soak

SUITE = "autobahntestsuite==25.10.1"
LEFT_OUT = ["9.*", "12.*", "13.*"]
PASSED = {"OK", "NON-STRICT", "INFORMATIONAL"}
CASES = 240
"""There are a few more; were they far fewer, the suite would not have run."""

RUN = (
    "import site, sys; site.addsitedir(sys.argv.pop(1)); "
    "from autobahntestsuite.wstest import run; run()"
)


def old_pythons() -> Iterator[str]:
    """Where a Python 2.7 may be."""
    if found := shutil.which("python2.7"):
        yield found
    root = os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")
    for path in sorted(Path(root).glob("versions/2.7*/bin/python2.7")):
        yield str(path)


def old_python() -> str:
    """A Python 2.7 that runs and has pip; a shim of pyenv's may lead nowhere."""
    for python in old_pythons():
        probe = subprocess.run([python, "-m", "pip", "--version"], capture_output=True)
        if probe.returncode == 0:
            return python
    pytest.skip("Autobahn's suite needs python2.7 with pip, and there is none")


@pytest.fixture(scope="module")
def suite(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    """Python 2.7, and the directory where the suite is installed."""
    python = old_python()
    cache: pytest.Cache | None = getattr(request.config, "cache", None)
    home = tmp_path_factory.mktemp("autobahn") if cache is None else cache.mkdir("autobahn")
    place = home / SUITE
    if not place.exists():
        partial = place.with_name("partial")
        shutil.rmtree(partial, ignore_errors=True)
        order = [python, "-m", "pip", "install", "-q", "--target", str(partial), SUITE]
        try:
            done = subprocess.run(order, capture_output=True, text=True, timeout=180)
        except subprocess.TimeoutExpired:
            pytest.skip(f"{SUITE} could not be installed within 180 s")
        if done.returncode != 0:
            pytest.skip(f"{SUITE} could not be installed: {done.stderr[-500:]}")
        partial.rename(place)
    return python, place


class Echo:
    """In place of a session: says what it hears, as it hears it."""

    def __init__(
        self,
        server: server_module.Server,
        stream: OutboxStream,
        token: Token | None,
        on_admitted: Callable[[], None],
        **_: Any,
    ) -> None:
        self._limits = server.limits
        self._stream = stream
        stream.be_patient()
        on_admitted()

    async def run(self, websocket: WebSocketConnection) -> None:
        while True:
            try:
                message = await websocket.get_message()
            except ConnectionClosed:
                break
            self._stream.message_received()
            self._stream.send_message(_framed(message))
        with trio.move_on_after(self._limits.close_seconds):
            await self._stream.closed.wait()


def _framed(message: str | bytes) -> bytes:
    if isinstance(message, str):
        return text_frame(message.encode())
    return b"\x82" + text_frame(message)[1:]


def test_the_fuzzing_suite(
    suite: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "Session", Echo)
    python, place = suite

    async def main() -> None:
        async with open_supervisor() as sup, trio.open_nursery() as nursery:
            start = partial(serve, sup, auth=Auth([Token("nobody", "secret")]), limits=Limits())
            address: Address = await nursery.start(start)
            spec = {
                "outdir": str(tmp_path),
                "servers": [{"url": address.url, "agent": "we"}],
                "cases": ["*"],
                "exclude-cases": LEFT_OUT,
                "exclude-agent-cases": {},
            }
            (tmp_path / "spec.json").write_text(json.dumps(spec))
            order = [python, "-c", RUN, str(place), "-m", "fuzzingclient"]
            with trio.fail_after(120):
                done = await trio.run_process(
                    [*order, "-s", str(tmp_path / "spec.json")],
                    cwd=tmp_path,
                    capture_stdout=True,
                    capture_stderr=True,
                    check=False,
                )
            assert done.returncode == 0, done.stderr.decode()
            nursery.cancel_scope.cancel()

    trio.run(main)
    results = json.loads((tmp_path / "index.json").read_text())["we"]
    assert len(results) >= CASES
    failed = {
        case: (result["behavior"], result["behaviorClose"])
        for case, result in results.items()
        if not {result["behavior"], result["behaviorClose"]} <= PASSED
    }
    assert not failed
