"""A program that ends well, but not at once.

In Python: a shell may lose a signal while it forks.
"""

from __future__ import annotations

import sys
from typing import Any

PATIENT = """
import signal, sys, time

def leave(*_):
    time.sleep(0.2)
    sys.exit(0)

signal.signal(signal.SIGTERM, leave)
print("up", flush=True)
while True:
    signal.pause()
"""


def patient(marker: Any) -> list[str]:
    """A command that takes 0.2 s to leave when it is asked to."""
    return [sys.executable, "-c", PATIENT, marker.text]
