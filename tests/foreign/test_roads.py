"""Foreign clients over TLS, and over a Unix socket: the same protocol."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from foreign_node import require_node, run_script
from foreign_server import HERE, PATIENCE, Served, open_served

pytest.importorskip("websockets", reason="the PyPI package websockets is not here")
pytest.importorskip("trustme", reason="the PyPI package trustme is not here")

import trustme
from websockets.asyncio.client import connect, unix_connect

PING = json.dumps({"jsonrpc": "2.0", "id": 0, "method": "session.ping"})

# `ws` of npm: whatever address and options it is given; says the server's answer.
NODE = """
import {readFileSync} from 'node:fs';
import WebSocket from 'ws';
const [url, ca] = process.argv.slice(2);
const headers = {Authorization: `Bearer ${process.env.TRIO_SUPERVISOR_TOKEN}`};
const socket = new WebSocket(url, {headers, ca: ca && readFileSync(ca)});
const ping = {jsonrpc: '2.0', id: 0, method: 'session.ping'};
socket.on('open', () => socket.send(JSON.stringify(ping)));
socket.on('message', (data) => (console.log(data.toString()), socket.close()));
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("roads")


@pytest.fixture(scope="module")
def both(place: Path) -> Iterator[Served]:
    """A server with TLS at its port, and a Unix socket."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(place / "ca.pem"))
    leaf = authority.issue_cert("127.0.0.1")
    (place / "key.pem").touch(mode=0o600)
    leaf.private_key_pem.write_to_path(str(place / "key.pem"))
    for number, blob in enumerate(leaf.cert_chain_pems):
        blob.write_to_path(str(place / "cert.pem"), append=number > 0)
    options = ["--listen", "127.0.0.1:0", "--listen", f"unix:{place / 'socket'}"]
    options += ["--tls-cert", str(place / "cert.pem"), "--tls-key", str(place / "key.pem")]
    with open_served(place, *options) as served:
        yield served


def ping(connection: Any) -> None:
    async def script() -> None:
        async with asyncio.timeout(PATIENCE), connection as socket:
            await socket.send(PING)
            answer = json.loads(await socket.recv())
            assert answer["id"] == 0 and "now" in answer["result"]

    asyncio.run(script())


def test_websockets_with_tls(both: Served, place: Path) -> None:
    assert both.url.startswith("wss://")
    context = ssl.create_default_context(cafile=str(place / "ca.pem"))
    ping(connect(both.url, ssl=context, additional_headers=both.header))


def test_websockets_believes_no_other_authority(both: Served) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        ping(connect(both.url, additional_headers=both.header))


def test_websockets_over_a_unix_socket(both: Served, place: Path) -> None:
    options = {"uri": "ws://localhost/ws", "additional_headers": both.header}
    ping(unix_connect(str(place / "socket"), **options))


def node_ping(server: Served, directory: Path, *words: str) -> None:
    node = require_node(HERE)
    (directory / "node_modules").symlink_to(HERE / "node_modules")
    script = directory / "script.mjs"
    script.write_text(NODE)
    done = run_script(node, server, script, *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert "now" in json.loads(done.stdout)["result"]


def test_ws_with_tls(both: Served, place: Path, tmp_path: Path) -> None:
    node_ping(both, tmp_path, both.url, str(place / "ca.pem"))


def test_ws_over_a_unix_socket(both: Served, place: Path, tmp_path: Path) -> None:
    node_ping(both, tmp_path, f"ws+unix:{place / 'socket'}:/ws")
