"""A job without a supervisor: its `current_job()`, scripted cancellations, scripted children."""

from __future__ import annotations

from .children import Fails, Hangs, NotScripted, Succeeds
from .control import StubControl
from .job import StubJob, stub_job

__all__ = ["Fails", "Hangs", "NotScripted", "StubControl", "StubJob", "Succeeds", "stub_job"]
