"""Suites for whoever writes a store or a launcher: do they keep the rules of `supervisor.abc`?"""

from __future__ import annotations

from .launcher import LauncherWorks, check_launcher
from .report import Broken, ConformanceReport, NotConforming, Skipped
from .store import check_store

__all__ = [
    "Broken",
    "ConformanceReport",
    "LauncherWorks",
    "NotConforming",
    "Skipped",
    "check_launcher",
    "check_store",
]
