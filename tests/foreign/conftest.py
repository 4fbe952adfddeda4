"""One real server, in a process of its own, for all the foreign clients."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from foreign_server import Served, open_served


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with open_served(tmp_path_factory.mktemp("foreign")) as served:
        yield served


@pytest.fixture
def job_id(request: pytest.FixtureRequest) -> str:
    """An id that no other test uses."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)
    return f"{name}-{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    pytest.importorskip("websockets", reason="the PyPI package websockets is not here")
    from chromium import open_browser

    with open_browser(tmp_path_factory.mktemp("browser")) as running:
        yield running
