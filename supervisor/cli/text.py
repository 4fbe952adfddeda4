"""Words for people: text of jobs made safe to show, times, ends and proofs.

What a job prints, raises or is called may hold anything, escape sequences included.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from .._model import Certificate, Job, JobState, Progress
from ..abc import describe_failure

__all__ = [
    "CONTROL",
    "age",
    "clean",
    "count_of",
    "describe_end",
    "local_time",
    "milliseconds",
    "one_line",
    "own_places",
    "progress_words",
    "proof_of",
    "seconds",
    "strength_of",
]

# Escape sequences (ECMA-48 5.4, 5.6): CSI ... final; OSC, DCS, SOS, PM, APC ... ST or BEL; ESC x.
_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)
# Control characters but tab and newline, what reorders text (CVE-2021-42574), lone surrogates.
CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"
    "\ud800-\udfff]"
)


def clean(text: str) -> str:
    """The text without escape sequences and control characters; tabs and newlines stay."""
    return CONTROL.sub("", _SEQUENCE.sub("", text))


def one_line(text: str, limit: int = 200) -> str:
    """The text on one line, cut if it is long."""
    flat = " ".join(clean(text).split())
    return flat if len(flat) <= limit else f"{flat[: limit - 1]}…"


def count_of(number: int, noun: str) -> str:
    """So many of them: "1 line", "2 lines"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


# A frame as a stuck job's record names it, of trio's own code.
_TRIO = re.compile(r"[/\\](?:site|dist)-packages[/\\]trio[/\\]")


def own_places(where: Sequence[str]) -> tuple[str, ...]:
    """Where a stuck job hangs, without the frames of trio, which say nothing of the job."""
    own = tuple(place for place in where if not _TRIO.search(place))
    return own or tuple(where[:1])


def seconds(value: float) -> str:
    """A duration, in units that fit."""
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def local_time(at: datetime) -> str:
    """A time as the clock on the wall here has it, with its distance from UTC (ISO 8601)."""
    return at.astimezone().isoformat(sep=" ", timespec="milliseconds")


def milliseconds(value: float) -> str:
    """A duration in milliseconds, for columns of them."""
    return f"{value * 1000:.1f} ms"


def age(since: datetime, now: datetime) -> str:
    """How long ago."""
    return f"{seconds(max(0.0, (now - since).total_seconds()))} ago"


def proof_of(certificate: Certificate) -> str:
    """What was checked before the job was called gone, and what that is worth."""
    return f"{certificate.proof.means} ({certificate.proof.strength})"


def strength_of(proof: str) -> str:
    """Of the words of `proof_of` only what the proof is worth."""
    return proof.partition("(")[2].rstrip(")") or proof


def describe_end(job: Job) -> str:
    """How a job ended, in a sentence without its subject."""
    words = _outcome(job)
    if job.certificate is not None:
        certificate = job.certificate
        words += (
            f" ({certificate.how}, dead {seconds(certificate.request_to_dead)} after the request; "
            f"proof: {proof_of(certificate)})"
        )
    return words


def _outcome(job: Job) -> str:
    match job.state:
        case JobState.FAILED:
            return f"failed: {one_line(describe_failure(job))}"
        case JobState.TIMED_OUT:
            return "timed out" if job.timeout is None else f"timed out after {job.timeout:g} s"
        case JobState.CANCELLED if job.cause is not None:
            reason = f": {one_line(job.reason)}" if job.reason else ""
            return f"cancelled by {job.cause}{reason}"
    return str(job.state)


def progress_words(progress: Progress) -> str:
    """How far a job says it is."""
    total = "" if progress.total is None else f" of {progress.total:g}"
    return one_line(f"{progress.done:g}{total} {progress.message or ''}")
