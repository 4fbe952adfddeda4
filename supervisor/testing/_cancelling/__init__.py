"""Cancellation at every checkpoint in turn, and what a run leaves behind."""

from .everywhere import cancel_everywhere
from .report import (
    CancellationUnsafe,
    CancelledAt,
    CancelledEverywhere,
    NothingToCancel,
    TooManyCheckpoints,
)

__all__ = [
    "CancellationUnsafe",
    "CancelledAt",
    "CancelledEverywhere",
    "NothingToCancel",
    "TooManyCheckpoints",
    "cancel_everywhere",
]
