"""The words of histories: what `check_history` plays, and what a failure prints to be pasted.

from supervisor.testing import History, check_history
from supervisor.testing.commands import *

check_history(History([Start("a"), Cancel("a", force=True)]))
"""

from __future__ import annotations

from ._histories.commands import (
    Aside,
    Call,
    Cancel,
    CancelAll,
    Command,
    Disconnect,
    End,
    Get,
    History,
    Manner,
    Pass,
    Raise,
    Reconnect,
    Settle,
    Shutdown,
    Sleep,
    Speak,
    Start,
    Ticks,
    Wait,
)
from ._histories.faults import CutAt, CutIn, Drop, Duplicate, Fault, Reorder, Silence

__all__ = [
    "Aside",
    "Call",
    "Cancel",
    "CancelAll",
    "Command",
    "CutAt",
    "CutIn",
    "Disconnect",
    "Drop",
    "Duplicate",
    "End",
    "Fault",
    "Get",
    "History",
    "Manner",
    "Pass",
    "Raise",
    "Reconnect",
    "Reorder",
    "Settle",
    "Shutdown",
    "Silence",
    "Sleep",
    "Speak",
    "Start",
    "Ticks",
    "Wait",
]
