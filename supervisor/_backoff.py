"""How long a client waits before it tries again. Chance is an argument.

Full jitter: anything between nothing and a window that doubles with every failure, so that clients
that lost the same server do not come back together.
See https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["BASE", "CAP", "LONGEST_WISH", "backoff", "wish"]

BASE: Final = 0.1
"""Seconds of the first window."""

CAP: Final = 5.0
"""Seconds of the widest window."""

LONGEST_WISH: Final = 60.0
"""Seconds that a server may ask its clients to wait; a larger number is taken for this one."""


def backoff(failures: int, chance: float, *, at_least: float = 0.0) -> float:
    """Seconds to wait.

    Args:
        failures: how many attempts in a row have failed before.
        chance: from 0 to 1, drawn anew each time.
        at_least: what the server asked for; clients are spread over as much time again.
    """
    window = max(BASE * 2.0 ** min(failures, 32), at_least)
    return at_least + min(CAP, window) * min(max(chance, 0.0), 1.0)


def wish(seconds: Any) -> float:
    """The number of seconds that a server asked for, whatever it sent: within bounds."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        return 0.0
    if not seconds > 0:  # so that NaN is nothing, too
        return 0.0
    return float(min(seconds, LONGEST_WISH))
