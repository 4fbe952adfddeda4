"""Node and the npm packages: where they are, and what to do where they are not."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from foreign_server import PATIENCE, Served

PATIENCE_OF_A_SCRIPT = 2 * PATIENCE


def require_node(packages: Path) -> str:
    """The command, where the npm packages of this directory are installed; else skip."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not here (Debian: apt-get install nodejs npm)")
    if not (packages / "node_modules" / "ws" / "package.json").is_file():
        pytest.skip(f"npm packages are not here: npm ci --ignore-scripts in {packages.name}/")
    return node


def environment(server: Served) -> dict[str, str]:
    """For a script that drives this server; without what would change how Node runs it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NODE_")}
    return kept | server.environment


def run_script(node: str, server: Served, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a script to its end."""
    return subprocess.run(
        [node, "--unhandled-rejections=strict", *map(str, words)],
        env=environment(server),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_OF_A_SCRIPT,
    )
