"""Settings shared by all tests."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

# No deadlines: how long an example takes says more about the machine than about us.
# What Hypothesis finds it prints so that it can be run again; in CI every run tries the same.
settings.register_profile("ours", deadline=None, print_blob=True)
settings.register_profile(
    "ci",
    deadline=None,
    print_blob=True,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("ci" if "CI" in os.environ else "ours")

# A shell starts what it runs in the background with SIGINT ignored, and children inherit that: the
# tests about Ctrl+C would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
