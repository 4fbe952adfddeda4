"""Nothing that a client can say breaks the codec, a session, or the stream below it.

Hypothesis makes it up here; the same checks are driven by coverage in tests/fuzz (a soak).
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from fuzz_kit import SEEDS, bounded, check_bytes, check_codec, check_messages, seeds
from hypothesis import example, given, settings
from hypothesis import strategies as st
from server_kit import frame

from supervisor import JobState, Limits
from supervisor._methods import METHODS, FilterParams
from supervisor._server.stream import OutboxStream, close_frame
from supervisor._wire import Malformed, Request

# --- what is made up ------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["", "\0", "a" * 5000, "\u202e", 2**63, -1, 0, 1e308])
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
JOB_IDS = st.sampled_from(["a", "b", "c"])
NAMES = st.sampled_from(["nap", "fail", "talk"])
STATES = st.sampled_from([state.value for state in JobState])
SECONDS = st.sampled_from([0, 0.5, 30, 1e9])


def fields_of(cls: type[Any], sensible: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy:
    """Parameters of this class: any of its fields, each sensible or not; now and then one more."""
    optional = {
        field.name: st.one_of([sensible[field.name]] * 3 + [JUNK])
        if field.name in sensible
        else JUNK
        for field in attrs.fields(cls)
    }
    return st.fixed_dictionaries({}, optional={**optional, "unheard_of": JUNK})


FILTERS = fields_of(
    FilterParams,
    {
        "job_ids": st.lists(JOB_IDS, max_size=2),
        "state": STATES | st.lists(STATES, max_size=2),
        "name": NAMES,
        "labels": st.dictionaries(st.text(max_size=2), st.text(max_size=2), max_size=2),
        "parent_id": JOB_IDS,
    },
)
ARGS = st.sampled_from([{}, {"seconds": 1}, {"lines": 3}]) | JUNK
SENSIBLE: dict[str, st.SearchStrategy[Any]] = {
    "name": NAMES,
    "job_id": JOB_IDS,
    "args": ARGS,
    "command": st.sampled_from([["true"], {"argv": ["true"]}]),
    "labels": st.dictionaries(st.text(max_size=2), st.text(max_size=2), max_size=2),
    "timeout": SECONDS,
    "grace": SECONDS,
    "notice": SECONDS,
    "filter": FILTERS,
    "state": STATES,
    "limit": st.integers(-1, 20_000),
    "since": st.integers(-1, 5) | st.fixed_dictionaries({"instance": JUNK, "seq": JUNK}),
    "wait": st.sampled_from(["accepted", "finished"]),
    "force": st.booleans(),
    "logs": st.booleans(),
    "progress": st.booleans(),
    "jobs": st.lists(st.fixed_dictionaries({"name": NAMES}), max_size=3),
    "id": st.integers(0, 5),
    "subscription_id": st.sampled_from(["e1", "e2"]),
    "on_disconnect": st.sampled_from(["keep", "cancel", "linger"]),
    "attempt": st.integers(0, 3),
    "if_unknown": st.sampled_from(["error", "remember"]),
    "mode": st.sampled_from(["drain", "cancel"]),
    "cursor": st.text(max_size=3),
    "token": st.just("fuzz"),
    "resume_token": st.text(min_size=1, max_size=3),
}
IDS = st.integers(0, 5) | st.sampled_from(["x", "1", ""])


@st.composite
def calls(draw: st.DrawFn) -> dict[str, Any]:
    """A request or a notification, of a method that there is."""
    method = draw(st.sampled_from(sorted(METHODS)))
    params = draw(fields_of(METHODS[method].params, SENSIBLE))
    message = {"jsonrpc": "2.0", "method": method, "params": params}
    if draw(st.integers(0, 4)):
        message["id"] = draw(IDS)
    return message


MESSAGES = calls() | st.lists(calls() | JUNK, max_size=6) | JUNK


def mutations(data: bytes) -> st.SearchStrategy[bytes]:
    """A few bytes lost, doubled, swapped or made up."""

    def apply(steps: list[tuple[int, int, int, bytes]]) -> bytes:
        out = bytearray(data)
        for kind, at, length, new in steps:
            at, end = at % (len(out) + 1), at % (len(out) + 1) + length
            match kind:
                case 0:
                    del out[at:end]
                case 1:
                    out[at:at] = out[at:end]
                case 2:
                    out[at:at] = new
                case 3:
                    out[at:end] = new
        return bytes(out)

    step = st.tuples(
        st.integers(0, 3),
        st.integers(0, 500),
        st.integers(1, 8),
        st.binary(min_size=1, max_size=4)
        | st.sampled_from([b"[", b"{", b'"', b"\\u", b"1e9", b"-"]),
    )
    return st.lists(step, min_size=1, max_size=6).map(apply)


# --- the codec ------------------------------------------------------------------------------------


@given(st.sampled_from(sorted(seeds())).flatmap(mutations))
def test_a_message_with_a_few_bytes_wrong(data: bytes) -> None:
    check_codec(data)


@given(MESSAGES)
def test_a_message_that_is_nearly_right(message: Any) -> None:
    event = check_codec(json.dumps(message))
    assert not isinstance(event, Malformed) or event.error.kind != "parse_error"


@given(st.integers(1, 30_000), st.sampled_from(['{"a":', "[", '[{"a":[']), st.booleans())
def test_deep_nesting_in_params(depth: int, opening: str, closed: bool) -> None:
    inner = opening * depth + ("0" if closed else "")
    if closed:
        inner += "".join({"{": "}", "[": "]"}[c] for c in reversed(opening * depth) if c in "{[")
    check_codec(f'{{"jsonrpc":"2.0","id":1,"method":"job.get","params":{{"job_id":{inner}}}}}')


@given(
    st.sampled_from(["-", "", "0", "1.", "1e", "1.0e-"]),
    st.integers(0, 20_000),
    st.sampled_from(["9", "0", "1"]),
)
def test_numbers_of_any_length(start: str, length: int, digit: str) -> None:
    number = start + digit * length
    event = check_codec(f'{{"jsonrpc":"2.0","id":{number or 0},"method":"x","params":{{}}}}')
    assert not isinstance(event, Request) or event.id in range(-(2**63), 2**63)
    params = f'{{"limit":{number or 0}}}'
    check_codec(f'{{"jsonrpc":"2.0","id":1,"method":"job.list","params":{params}}}')


@given(
    st.lists(
        st.sampled_from(["\\ud800", "\\udc00", "\\uDBFF\\uDFFF", "\\u0000", "\\u12", "\\x", "ü"])
    )
)
def test_escapes_and_halves_of_surrogates(parts: list[str]) -> None:
    text = "".join(parts)
    for message in (
        f'{{"jsonrpc":"2.0","id":"{text}","method":"x"}}',
        f'{{"jsonrpc":"2.0","id":1,"method":"{text}"}}',
        f'{{"jsonrpc":"2.0","id":1,"method":"job.get","params":{{"{text}":1}}}}',
    ):
        check_codec(message)
        check_codec(message.encode())


# --- the session ----------------------------------------------------------------------------------


@settings(max_examples=80)
@given(st.lists(MESSAGES, min_size=1, max_size=25))
@example([{"jsonrpc": "2.0", "id": 1, "method": "job.wait", "params": {"job_id": "a"}}] * 2)
@example([SEEDS[1], [SEEDS[2], SEEDS[1], 7], [], {}])
def test_every_request_is_answered_exactly_once(messages: list[Any]) -> None:
    check_messages(messages)


@st.composite
def odd_frames(draw: st.DrawFn) -> bytes:
    """A frame that may be right."""
    payload = draw(
        st.sampled_from(sorted(seeds()))
        | st.binary(max_size=130)
        | st.sampled_from([b"", b"\x03\xe8", b"\x03\xe8\xff", b" " * 70_000])
    )
    whole = bytearray(frame(payload, draw(st.integers(0, 15)), final=draw(st.booleans())))
    whole[0] |= draw(st.sampled_from([0, 0, 0, 0, 0x40, 0x20, 0x10]))
    return bytes(whole[: draw(st.sampled_from([len(whole)] * 6 + [1, 3, 7]))])


@settings(max_examples=80)
@given(st.lists(st.binary(max_size=200) | odd_frames(), min_size=1, max_size=20))
def test_any_bytes_on_a_websocket(pieces: list[bytes]) -> None:
    check_bytes(pieces)


@settings(max_examples=40)
@given(
    st.lists(MESSAGES.map(lambda m: frame(json.dumps(m).encode())), min_size=1, max_size=5),
    st.lists(st.integers(1, 50), min_size=1, max_size=20),
)
def test_messages_cut_anywhere(frames: list[bytes], cuts: list[int]) -> None:
    data = b"".join(frames)
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(data[at : at + cut])
        at += cut
    check_bytes([piece for piece in (*pieces, data[at:]) if piece])


# --- the stream -----------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.just("send"), st.sampled_from([1, 300, 9_000, 70_000]))
        | st.tuples(st.just("library"), st.integers(1, 200))
        | st.tuples(st.just("turn"), st.integers(1, 3))
        | st.tuples(st.just("close"), st.just(1001)),
        max_size=20,
    ),
    st.sampled_from([700, 65_536]),
)
def test_what_was_taken_arrives_whole_and_in_order(
    steps: list[tuple[str, int]], at_once: int
) -> None:
    taken = bytearray()
    arrived = bytearray()

    async def write(stream: OutboxStream) -> None:
        sealed = False
        for number, (what, size) in enumerate(steps):
            data = bytes([number + 1]) * size
            match what:
                case "send":
                    if stream.send_nowait(data) and not sealed:
                        taken.extend(data)
                case "library":
                    await stream.send_all(data)
                    if not sealed:
                        taken.extend(data)
                case "turn":
                    for _ in range(size):
                        await trio.lowlevel.checkpoint()
                case "close":
                    stream.send_close(size, "bye")
                    if not sealed:
                        taken.extend(close_frame(size, "bye"))
                    sealed = True
        await stream.aclose()

    async def main() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            stream = OutboxStream(ours, Limits(outbox_bytes=10_000_000))
            nursery.start_soon(stream.flush)
            nursery.start_soon(write, stream)
            while data := await theirs.receive_some(at_once):
                arrived.extend(data)
            await theirs.aclose()

    bounded(main)
    assert arrived == taken


# --- by coverage ----------------------------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.parametrize("harness", ["fuzz_codec", "fuzz_session"])
def test_by_coverage(harness: str, tmp_path: Path) -> None:
    """No crash, no hang, no growth: libFuzzer ends with an error at any of them."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed (the extra `soak` has it)")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("fuzz") / f"{harness}.py"),
            str(corpus),
            "-max_total_time=15",
            "-timeout=10",
            "-rss_limit_mb=1024",
            "-max_len=4096",
            "-verbosity=1",
            f"-artifact_prefix={tmp_path}/",
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    assert "Done " in done.stderr, done.stderr[-2000:]
