"""`json-rpc-2.0` and `vscode-ws-jsonrpc` (npm): each exported function of their files is a case."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from foreign_node import require_node, run_script
from foreign_server import HERE, Served


def cases_of(name: str) -> list[tuple[str, str]]:
    found = re.findall(r"^export async function (\w+)\(", (HERE / name).read_text(), re.MULTILINE)
    return [(name, case) for case in found]


CASES = [*cases_of("json_rpc_2.mjs"), *cases_of("vscode_ws_jsonrpc.mjs")]


@pytest.mark.parametrize(("file", "case"), CASES)
def test_case(server: Served, file: str, case: str) -> None:
    node = require_node(HERE)
    done = run_script(node, server, HERE / "run.mjs", HERE / file, case)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"{case} passed\n"
    assert done.stderr == ""


@pytest.mark.parametrize("directory", ["tests/foreign", "examples/node"])
def test_what_is_installed_is_pinned_and_from_anywhere(directory: str) -> None:
    package = HERE.parents[1] / directory
    pinned = re.findall(r'"([^"]+)": "([^"]+)"', _dependencies(package / "package.json"))
    assert pinned and all(re.fullmatch(r"\d+\.\d+\.\d+", version) for _, version in pinned)
    lock = (package / "package-lock.json").read_text()
    assert lock.count('"integrity": "sha512-') >= len(pinned)
    assert '"resolved"' not in lock and "://" not in lock, "the lock names a registry"


def _dependencies(file: Path) -> str:
    return file.read_text().partition('"dependencies": {')[2]
