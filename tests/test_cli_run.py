"""`run NAME`: where a registered job is looked for, and what is said if that is nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.cli import main
from supervisor.cli.exits import Exit


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing says where a server is, and none of this user is found."""
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("TRIO_SUPERVISOR_URL", raising=False)


@pytest.mark.parametrize(
    ("options", "why"), [([], "no server was found"), (["--embedded"], "--embedded uses no server")]
)
def test_name_with_neither_server_nor_registry(
    options: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", *options, "crawl", "site=x"]) == Exit.USAGE
    told = capsys.readouterr().err
    assert why in told
    assert "--app MODULE:ATTR crawl" in told and "run -- crawl" in told


def test_name_that_the_registry_does_not_know(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cli_run_jobs.py").write_text(
        "import supervisor\nregistry = supervisor.Registry()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["run", "--app", "cli_run_jobs:registry", "crawl"]) == Exit.USAGE
    told = capsys.readouterr().err
    assert "no job named 'crawl' is registered" in told and "server" not in told.partition(":")[2]
