"""Tells whether this package is still ours.

Another project on PyPI, `supervisor` (supervisord), installs a package of the same import name.
Installed into the same environment it overwrites our `__init__.py`; uninstalled again it deletes
it. Either way a user would see an ImportError about a name that the documentation promises. So
the command enters here: this module imports nothing of ours, reads `__init__.py` as text, and
says what happened and which commands repair it.
"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass
from enum import Enum
from importlib import metadata
from pathlib import Path

__all__ = ["EX_CONFIG", "MARKER", "GuardReport", "PackageState", "check", "main", "show"]

DISTRIBUTION = "trio-supervisor"
RIVAL = "supervisor"

MARKER = f'__distribution__ = "{DISTRIBUTION}"'
"""The line of our `__init__.py` that no other package has."""

EX_CONFIG = 78
"""Exit code for a damaged installation, from sysexits.h."""


class PackageState(Enum):
    """What became of our `__init__.py`."""

    INTACT = "intact"
    OVERWRITTEN = "overwritten"
    MISSING = "missing"


@dataclass(frozen=True)
class GuardReport:
    """What the guard found.

    Attributes:
        state: whether `__init__.py` is ours.
        path: where it is, or would be.
        rival: the version of the other package `supervisor`, if it is installed here too.
        repair: the commands that repair it, in order; empty if there is nothing to do.
    """

    state: PackageState
    path: Path
    rival: str | None = None
    repair: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether our package can be imported."""
        return self.state is PackageState.INTACT

    def __str__(self) -> str:
        return " ".join(filter(None, (self._found(), self._cause(), self._advice())))

    def _found(self) -> str:
        match self.state:
            case PackageState.INTACT:
                return f"{DISTRIBUTION} is intact: {self.path}."
            case PackageState.OVERWRITTEN:
                return f"{DISTRIBUTION} is damaged: {self.path} was overwritten."
            case PackageState.MISSING:
                return f"{DISTRIBUTION} is damaged: {self.path} is missing."

    def _cause(self) -> str:
        if self.rival is None:
            guess = f"Another package named {RIVAL!r} was probably installed here."
            return "" if self.ok else guess
        if self.ok:
            return f"But {RIVAL} {self.rival} is installed here too and shares its directory."
        return f"{RIVAL} {self.rival} is installed here too and uses the same directory."

    def _advice(self) -> str:
        return f"To repair it, run: {' && '.join(self.repair)}" if self.repair else ""


def check(package: Path | None = None) -> GuardReport:
    """Look whether `__init__.py` is ours.

    Args:
        package: the package's directory; None is the one this module lies in.
    """
    path = (package or Path(__file__).parent) / "__init__.py"
    state = _state_of(path)
    rival = _version_of(RIVAL)
    return GuardReport(state, path, rival, _repair(state, rival))


def show() -> int:
    """Print the report; 0 if all is well. For `python -m supervisor._guard`."""
    report = check()
    print(report)
    return 0 if report.ok else EX_CONFIG


def main() -> int:
    """The command `trio-supervisor`: check, then hand over to the command line proper."""
    # Only the file: looking for the other package costs time that a sound installation saves.
    if _state_of(Path(__file__).with_name("__init__.py")) is not PackageState.INTACT:
        print(f"trio-supervisor: {check()}", file=sys.stderr)
        return EX_CONFIG
    from supervisor.cli import main as run_command_line

    return run_command_line() or 0


def _state_of(path: Path) -> PackageState:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return PackageState.MISSING
    return PackageState.INTACT if MARKER in lines else PackageState.OVERWRITTEN


def _version_of(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _repair(state: PackageState, rival: str | None) -> tuple[str, ...]:
    """The commands to run; the other package goes first, for its removal deletes `__init__.py`."""
    pip = f"{shlex.quote(sys.executable)} -m pip"
    remove = (f"{pip} uninstall -y {RIVAL}",) if rival is not None else ()
    if state is PackageState.INTACT and not remove:
        return ()
    return (*remove, f"{pip} install --force-reinstall --no-deps {_requirement()}")


def _requirement() -> str:
    """What to give to pip to get this very distribution again, from where it came."""
    try:
        ours = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return DISTRIBUTION
    return _origin(ours.read_text("direct_url.json")) or f"{DISTRIBUTION}=={ours.version}"


def _origin(recorded: str | None) -> str | None:
    """Where it was installed from, if not from an index: pip's record of it (PEP 610)."""
    try:
        direct = json.loads(recorded or "")
        url = str(direct["url"])
        if vcs := direct.get("vcs_info"):
            return shlex.quote(f"{vcs['vcs']}+{url}@{vcs['commit_id']}")
        editable = direct.get("dir_info", {}).get("editable")
        return f"-e {shlex.quote(url)}" if editable else shlex.quote(url)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


if __name__ == "__main__":
    sys.exit(show())
