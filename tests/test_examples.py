"""Every example runs, by itself and with nothing else, and says what it promises to say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"

SAYS = {
    "embedding.py": [
        "short returned 3",
        "long is cancelled: cooperative, proof task_exited (certain)",
        "build is cancelled",
    ],
    "websocket_client.py": [
        "refused: ",
        "job.cancelling",
        "job.finished",
        "the job is cancelled because: wrong picture",
    ],
    "cancel_before_start.py": [
        "cancel first: recorded",
        "then start: cancelled never_started because: wrong address",
        "started again: sent in attempt 2",
    ],
}


def test_every_example_is_here() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("name", sorted(SAYS))
def test_example(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    at = 0
    for text in SAYS[name]:
        at = done.stdout.index(text, at)
    assert "never printed" not in done.stdout
