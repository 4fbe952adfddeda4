"""What a watch brings, in a line each: `time  type  job  what`, or as the wire has it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from .._model import EventsLost, JobEvent, LogEntry, LogsLagged, ProgressEvent
from .._wire_records import item_to_wire, to_wire
from ..abc import WatchItem
from .output import STATE_STYLES, is_terminal, to_json
from .streams import Streams
from .text import count_of, local_time, one_line, own_places, progress_words, seconds

__all__ = ["EventLines", "describe_event"]

LONG = 1000
TYPE_WIDTH = len("job.attempt_ended")


class EventLines:
    """Shows the items of a watch as they come.

    Args:
        streams: where they go.
        as_json: as JSON Lines.
    """

    def __init__(self, streams: Streams, as_json: bool) -> None:
        self._streams = streams
        self._as_json = as_json
        self._draw = _drawing() if is_terminal(sys.stdout) and not as_json else None

    def take(self, item: WatchItem) -> None:
        """The next item."""
        if isinstance(item, EventsLost):
            self._gap(item)
        elif isinstance(item, LogsLagged):
            self._lag(item)
        elif self._as_json:
            self._item(item)
        else:
            self._row(item)

    def _gap(self, gap: EventsLost) -> None:
        if self._as_json:
            # No notification of the wire: its error of the same name says as much to a client.
            self._streams.data(to_json({"replay_gone": to_wire(gap)}))
        self._streams.say(
            f"events after {gap.after_seq} were lost; going on after {gap.resumes_at} "
            "(trio-supervisor list shows how things are)"
        )

    def _lag(self, lag: LogsLagged) -> None:
        if self._as_json:
            self._item(lag)
        count = count_of(lag.to_n - lag.from_n + 1, "line")
        self._streams.say(
            f"{count} of job {lag.job_id} left out, for they came too fast "
            f"(trio-supervisor logs {lag.job_id} --since {lag.from_n - 1} may have them)"
        )

    def _item(self, item: JobEvent | LogEntry | ProgressEvent | LogsLagged) -> None:
        method, params = item_to_wire(item)
        self._streams.data(to_json({"method": method, "params": params}))

    def _row(self, item: JobEvent | LogEntry | ProgressEvent) -> None:
        row = _row(item)
        style = STATE_STYLES.get(str(item.state), "") if isinstance(item, JobEvent) else "dim"
        self._streams.data("\t".join(row) if self._draw is None else self._draw(row, style))


def _row(item: JobEvent | LogEntry | ProgressEvent) -> tuple[str, str, str, str]:
    match item:
        case JobEvent():
            return local_time(item.time), item.type, item.job_id, describe_event(item)
        case LogEntry():
            return local_time(item.time), item.stream, item.job_id, one_line(item.text, LONG)
    now = local_time(datetime.now(UTC))  # progress carries no time of its own
    return now, "progress", item.job_id, progress_words(item.progress)


def _drawing() -> Any:
    """What draws a row for the terminal at stdout, with colour if it may have some."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)

    def draw(row: tuple[str, str, str, str], style: str) -> str:
        at, kind, job_id, what = row
        clock = at.partition(" ")[2][: len("00:00:00.000")]
        kind = f"{kind:<{TYPE_WIDTH}}"
        text = Text("  ").join(
            [Text(clock, "dim"), Text(kind, style), Text(job_id, "bold"), Text(what)]
        )
        with console.capture() as capture:
            console.print(text, end="")
        return capture.get()

    return draw


# --- words ---------------------------------------------------------------------------------------


def describe_event(event: JobEvent) -> str:
    """What an event says beyond its type, in a line."""
    data = event.data
    words = [_main_word(event), _reason(data)]
    if data.get("late"):
        words.append("late")
    if "request_to_dead" in data:
        words.append(f"dead {_seconds(data['request_to_dead'])} after the request")
    attempt = f"attempt {event.attempt}" if event.attempt > 1 else ""
    return one_line("; ".join(word for word in (*words, attempt) if word), LONG)


def _main_word(event: JobEvent) -> str:
    data = event.data
    if "why" in data:
        return f"{data['why']}: {'; '.join(own_places(list(map(str, data.get('where', ())))))}"
    if "name" in data:
        return f"{data['name']} ({data.get('kind', '')})"
    if event.state.is_final:
        return f"{event.state} ({data.get('how', '')}{_detail(data)})"
    return str(data.get("rung") or event.state)


def _detail(data: Mapping[str, Any]) -> str:
    error = data.get("error")
    if isinstance(error, Mapping):
        return f", {error.get('type')}: {error.get('message')}"
    if data.get("signal") is not None:
        return f", signal {data['signal']}"
    return f", exit code {data['exit_code']}" if data.get("exit_code") else ""


def _reason(data: Mapping[str, Any]) -> str:
    if "cause" not in data:
        return ""
    reason = f": {data['reason']}" if data.get("reason") else ""
    return f"by {data.get('requester', '')} ({data['cause']}){reason}"


def _seconds(value: Any) -> str:
    return seconds(value) if isinstance(value, (int, float)) else "?"
