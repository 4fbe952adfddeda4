"""An independent look at the processes of this machine, by what stands in their command line.

It knows nothing of jobs, cgroups or sessions: it reads what `ps` reads.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import attrs

__all__ = ["Seen", "processes_with"]


@attrs.frozen
class Seen:
    """A process that is alive."""

    pid: int
    command: str


def processes_with(marker: str) -> list[Seen]:
    """The living processes with this text in their command line. (A zombie has none.)"""
    found = _from_proc() if Path("/proc/self/cmdline").exists() else _from_ps()
    return [seen for seen in found if marker in seen.command]


def _from_proc() -> list[Seen]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            raw = path.read_bytes()
        except OSError:  # it ended meanwhile
            continue
        found.append(Seen(int(path.parent.name), raw.replace(b"\0", b" ").decode(errors="replace")))
    return found


def _from_ps() -> list[Seen]:
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,args="], stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    lines = listed.stdout.decode(errors="replace").splitlines()
    pairs = (line.strip().partition(" ") for line in lines if line.strip())
    return [Seen(int(pid), command) for pid, _, command in pairs]
