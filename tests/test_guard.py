"""The guard against the other package named `supervisor`, tried with that package itself."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor import _guard

ROOT = Path(__file__).resolve().parent.parent
RIVAL = "supervisor==4.3.0"


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


def succeed(*command: str | Path, cwd: Path) -> str:
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def download_rival(into: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--retries", "1"]
    done = run(*pip, "--only-binary=:all:", "-d", into, RIVAL, cwd=into.parent)
    if done.returncode != 0:
        why = (done.stderr.strip() or "no reason given").splitlines()[-1]
        pytest.skip(f"{RIVAL} cannot be had from the package index: {why}")
    return next(into.glob("supervisor-*.whl"))


class Environment:
    """A virtual environment of its own, with our wheel in it and our dependencies in reach."""

    def __init__(self, directory: Path) -> None:
        self.cwd = directory
        self.rival = download_rival(directory / "rival")
        pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps"]
        succeed(*pip, "-w", directory / "ours", ROOT, cwd=directory)
        self.ours = next((directory / "ours").glob("*.whl"))
        succeed(sys.executable, "-m", "venv", directory / "venv", cwd=directory)
        self.bin = directory / "venv" / "bin"
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        self.packages = Path(succeed(self.bin / "python", "-c", where, cwd=directory).strip())
        (self.packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))

    def pip(self, *arguments: str | Path) -> None:
        succeed(self.bin / "python", "-m", "pip", *arguments, "-q", cwd=self.cwd)

    def report(self) -> subprocess.CompletedProcess[str]:
        return run(self.bin / "python", "-m", "supervisor._guard", cwd=self.cwd)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(self.bin / "trio-supervisor", *arguments, cwd=self.cwd)

    def assert_intact(self) -> None:
        assert "is intact" in self.report().stdout
        assert self.report().returncode == 0
        name = "import supervisor; print(supervisor.__distribution__)"
        assert succeed(self.bin / "python", "-c", name, cwd=self.cwd) == "trio-supervisor\n"
        assert self.command("--help").returncode == 0

    def assert_damaged(self, word: str) -> str:
        """Every way in says the same, in one line; returns the repair that it gives."""
        report = self.report()
        assert word in report.stdout
        assert report.returncode == _guard.EX_CONFIG
        module = run(self.bin / "python", "-m", "supervisor", "list", cwd=self.cwd)
        for done in (self.command("--help"), module):
            assert done.returncode == _guard.EX_CONFIG, done.stderr
            assert done.stdout == ""
            assert done.stderr == f"trio-supervisor: {report.stdout}"
            assert done.stderr.count("\n") == 1
        return report.stdout.partition("run: ")[2].strip()


def test_the_other_package_really_installed_over_ours_and_removed(tmp_path: Path) -> None:
    environment = Environment(tmp_path)
    environment.pip("install", "--no-deps", environment.ours)
    environment.assert_intact()

    environment.pip("install", "--no-deps", environment.rival)
    repair = environment.assert_damaged("overwritten")
    assert "pip uninstall -y supervisor && " in repair
    succeed("sh", "-c", repair, cwd=tmp_path)
    environment.assert_intact()

    environment.pip("install", "--no-deps", environment.rival)
    environment.pip("uninstall", "-y", "supervisor")
    repair = environment.assert_damaged("missing")
    assert "pip uninstall" not in repair
    succeed("sh", "-c", repair, cwd=tmp_path)
    environment.assert_intact()

    environment.pip("install", "--no-deps", environment.rival)
    environment.pip("install", "--no-deps", "--force-reinstall", environment.ours)
    environment.assert_intact()
    assert "supervisor 4.3.0 is installed here too" in environment.report().stdout


def test_this_very_package_is_intact() -> None:
    report = _guard.check()
    assert report.state is _guard.PackageState.INTACT
    assert report.path == ROOT / "supervisor" / "__init__.py"


def absent(path: Path) -> None:
    pass


def foreign(path: Path) -> None:
    path.write_text("# this is a package\n")


def binary(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")


def quoting_us(path: Path) -> None:
    path.write_text(f'NOTE = """{_guard.MARKER}"""\n')


def ours(path: Path) -> None:
    path.write_text(f'"""Ours."""\n\n{_guard.MARKER}\n')


@pytest.mark.parametrize(
    ("write", "state"),
    [
        (absent, _guard.PackageState.MISSING),
        (foreign, _guard.PackageState.OVERWRITTEN),
        (binary, _guard.PackageState.OVERWRITTEN),
        (quoting_us, _guard.PackageState.OVERWRITTEN),
        (ours, _guard.PackageState.INTACT),
    ],
)
def test_state_follows_from_the_file(
    write: Callable[[Path], None], state: _guard.PackageState, tmp_path: Path
) -> None:
    write(tmp_path / "__init__.py")
    report = _guard.check(tmp_path)
    assert report.state is state
    assert report.ok is (state is _guard.PackageState.INTACT)


@pytest.mark.parametrize(
    ("recorded", "requirement"),
    [
        (None, None),
        ("no JSON", None),
        ("[]", None),
        ('{"dir_info": {}}', None),
        ('{"url": "file:///w/t.whl", "archive_info": {}}', "file:///w/t.whl"),
        ('{"url": "file:///a b", "dir_info": {"editable": true}}', "-e 'file:///a b'"),
        (
            '{"url": "https://h/r", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}}',
            "git+https://h/r@c0ffee",
        ),
    ],
)
def test_repair_installs_from_where_it_came(recorded: str | None, requirement: str | None) -> None:
    assert _guard._origin(recorded) == requirement


def test_imports_nothing_of_ours() -> None:
    """It has to run where the rest of the package cannot."""
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('guard', {_guard.__file__!r})\n"
        "module = sys.modules['guard'] = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        "print(sorted(n for n in sys.modules if n.partition('.')[0] in {'supervisor', 'trio'}))\n"
    )
    assert succeed(sys.executable, "-I", "-S", "-c", code, cwd=ROOT) == "[]\n"
