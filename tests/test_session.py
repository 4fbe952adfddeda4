"""One client's requests, waits, batches and subscriptions, over memory streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.testing
from server_kit import (
    OTHER,
    SECRET,
    WATCHER,
    RawPeer,
    Refused,
    frame,
    handshake,
    open_peer,
    open_world,
    request,
    run,
    settled,
)
from turns import in_turn

import supervisor._server.dispatch as dispatch
from supervisor._model import JobRequest
from supervisor._server import Limits
from supervisor._server.calls import Later


def test_hello_says_who_and_what_we_are() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            hello = await peer.call("session.hello", client="a test")
            assert hello["instance"] == world.sup.instance
            assert hello["protocol"] == "v1.jsonrpc.supervisor"
            assert hello["head_seq"] == 0
            assert hello["resumed"] == 0
            assert hello["scopes"] == ["admin", "cancel", "exec", "observe", "submit"]
            assert hello["limits"]["message_bytes"] == 1024 * 1024
            assert len(hello["resume_token"]) >= 32
            assert (await peer.call("session.ping"))["head_seq"] == 0

    run(main)


def test_hello_is_said_once() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("session.hello", client="first")
            with pytest.raises(Refused, match="already") as refused:
                await peer.call("session.hello", client="second")
            assert (refused.value.code, refused.value.path) == (-32600, "$.method")
            (session,) = world.server.sessions
            assert session.client == "first"
            await peer.call("session.ping")

    run(main)


def test_a_hello_that_was_wrong_may_be_said_again() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            with pytest.raises(Refused):
                await peer.call("session.hello", client=7)
            await peer.call("session.hello")

    run(main)


@pytest.mark.parametrize("id", [0, "0", "", -7, 2**63 - 1, "6ba7b810-9dad-11d1-80b4-00c04fd430c8"])
def test_ids_come_back_as_they_were(id: int | str) -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.say({"jsonrpc": "2.0", "id": id, "method": "session.ping"})
            answer = await peer.hear()
            assert answer["id"] == id
            assert type(answer["id"]) is type(id)
            assert "result" in answer

    run(main)


def test_binary_messages_are_read_and_answered_in_text() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.say(json.dumps(request("session.ping")).encode())
            assert isinstance(await peer.websocket.get_message(), str)

    run(main)


BAD = [
    ("not json", "{oops", -32700, None, "$"),
    ("nothing", "", -32700, None, "$"),
    ("bad utf-8", b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', -32700, None, "$"),
    ("60,000 brackets", "[" * 60_000, -32700, None, "$"),
    (
        "60,000 brackets in params",
        '{"jsonrpc":"2.0","id":1,"method":"job.get","params":{"job_id":' + "[" * 60_000,
        -32700,
        None,
        "$",
    ),
    (
        "NaN",
        '{"jsonrpc":"2.0","id":1,"method":"job.cancel","params":{"job_id":"a","grace":NaN}}',
        -32602,
        1,
        "$.params.grace",
    ),
    (
        "infinity",
        '{"jsonrpc":"2.0","id":1,"method":"job.cancel","params":{"job_id":"a","grace":1e999}}',
        -32602,
        1,
        "$.params.grace",
    ),
    (
        "a number of 6,000 digits",
        '{"jsonrpc":"2.0","id":1,"method":"job.cancel","params":{"job_id":"a","attempt":'
        + "9" * 6000
        + "}}",
        -32602,
        1,
        "$.params.attempt",
    ),
    ("a number", 7, -32600, None, "$"),
    ("an empty batch", [], -32600, None, "$"),
    ("no version", {"id": 1, "method": "session.ping"}, -32600, 1, "$.jsonrpc"),
    ("no method", {"jsonrpc": "2.0", "id": 1}, -32600, 1, "$.method"),
    ("a method of a wrong type", {"jsonrpc": "2.0", "id": 1, "method": 7}, -32600, 1, "$.method"),
    ("an id of a wrong type", {"jsonrpc": "2.0", "id": 1.5, "method": "x"}, -32600, None, "$.id"),
    ("id null", {"jsonrpc": "2.0", "id": None, "method": "x"}, -32600, None, "$.id"),
    ("id true", {"jsonrpc": "2.0", "id": True, "method": "x"}, -32600, None, "$.id"),
    (
        "an id of 257 characters",
        {"jsonrpc": "2.0", "id": "x" * 257, "method": "x"},
        -32600,
        None,
        "$.id",
    ),
    ("an id of 70 bits", {"jsonrpc": "2.0", "id": 2**70, "method": "x"}, -32600, None, "$.id"),
    (
        "an unknown member",
        {"jsonrpc": "2.0", "id": 1, "method": "session.ping", "parms": {}},
        -32600,
        1,
        "$.parms",
    ),
    ("an unknown method", request("job.begin"), -32601, 1, "$.method"),
    ("an unknown field", request("job.get", job_id="a", foo=1), -32602, 1, "$.params.foo"),
    (
        "an unknown field deep down",
        request("job.start_many", jobs=[{"command": {"argv": ["x"], "dir": "/"}}]),
        -32602,
        1,
        "$.params.jobs[0].command.dir",
    ),
    ("a field that is missing", request("job.get"), -32602, 1, "$.params"),
    ("a field of a wrong type", request("job.get", job_id=7), -32602, 1, "$.params.job_id"),
    ("an odd id", request("job.get", job_id="a b"), -32602, 1, "$.params.job_id"),
    ("an id with a newline", request("job.get", job_id="a\n"), -32602, 1, "$.params.job_id"),
    ("negative", request("job.cancel", job_id="a", grace=-1), -32602, 1, "$.params.grace"),
    ("no such choice", request("job.cancel", job_id="a", wait="x"), -32602, 1, "$.params.wait"),
    ("neither name nor command", request("job.start"), -32602, 1, "$.params.name"),
    (
        "wrong arguments",
        request("job.start", name="nap", args={"seconds": "x"}),
        -32602,
        1,
        "$.params.args.seconds",
    ),
    ("a shell line", request("job.start", command="ls -l"), -32602, 1, "$.params.command"),
    ("no argv", request("job.start", command=[]), -32602, 1, "$.params.command"),
    ("NUL in argv", request("job.start", command=["a\0b"]), -32602, 1, "$.params.command"),
    ("an unknown job", request("job.start", name="sleep"), -32012, 1, None),
    ("an unknown id", request("job.get", job_id="nobody"), -32001, 1, None),
    (
        "by position",
        {"jsonrpc": "2.0", "id": 1, "method": "job.get", "params": ["a"]},
        -32602,
        1,
        "$.params",
    ),
]


@pytest.mark.parametrize(
    ("message", "code", "id", "path"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_bad_input_is_answered_with_its_place_and_the_connection_lives(
    message: Any, code: int, id: int | None, path: str | None
) -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.say(message)
            answer = await peer.hear()
            assert answer["id"] == id
            refused = Refused(answer["error"])
            assert (refused.code, refused.path) == (code, path)
            assert (await peer.call("session.ping"))["head_seq"] == 0
            assert world.jobs() == {}

    run(main)


def test_what_would_do_is_listed() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            with pytest.raises(Refused) as refused:
                await peer.call("job.start", name="sleep")
            assert refused.value.data["known"] == ["fail", "nap", "stubborn", "talk"]
            with pytest.raises(Refused, match="accepted, finished") as refused:
                await peer.call("job.cancel", job_id="a", wait="never")
            assert refused.value.data["allowed"] == ["accepted", "finished"]
            with pytest.raises(Refused, match="job_id, timeout would do"):
                await peer.call("job.wait", job_id="a", tiemout=1)
            with pytest.raises(Refused) as refused:
                await peer.call("job.begin")
            assert "job.start" in refused.value.data["known"]

    run(main)


@pytest.mark.parametrize("error", [RuntimeError("secret detail"), SystemExit("secret detail")])
@pytest.mark.parametrize("later", [False, True])
def test_an_internal_error_stays_inside_and_the_connection_lives(
    error: BaseException,
    later: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run_later(call: Any) -> Any:
        raise error

    def broken(session: Any, params: Any) -> Any:
        if later:
            return Later(run_later)
        raise error

    monkeypatch.setitem(dispatch.HANDLERS, "session.ping", broken)  # type: ignore[arg-type]

    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.tell("session.ping")
            with pytest.raises(Refused) as refused:
                await peer.call("session.ping")
            assert refused.value.code == -32603
            assert "secret" not in str(refused.value)
            await peer.call("session.hello")

    run(main)
    assert "secret detail" in caplog.text


# --- order ---------------------------------------------------------------------------------------


def test_start_and_cancel_in_one_segment_cancels_even_behind_the_head() -> None:
    async def main(together: int) -> None:
        async with open_world() as world:
            raw = RawPeer(world.open_stream())
            start = frame(request("job.start", 1, name="nap", job_id="a"))
            cancel = frame(request("job.cancel", 2, job_id="a"))
            parts = [handshake(), start + cancel]
            for part in [b"".join(parts)] if together else parts:
                await raw.stream.send_all(part)
            await raw.head()
            first, second = [json.loads((await raw.frame())[1]) for _ in range(2)]
            assert first["result"]["created"] is True
            assert second["result"]["outcome"] == "cancelling"
            job = await settled(world, "a")
            assert job.state == "cancelled"
            await raw.stream.aclose()

    for together in (0, 1):
        run(lambda together=together: main(together))  # type: ignore[misc]


def test_cancel_before_start_makes_it_born_cancelled() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as one, open_peer(world) as two:
            reply = await one.call("job.cancel", job_id="a", if_unknown="remember", reason="no")
            assert reply["outcome"] == "recorded"
            started = await two.call("job.start", name="nap", job_id="a")
            assert started["job"]["state"] == "cancelled"
            assert started["job"]["how"] == "never_started"
            assert started["job"]["certificate"]["first_request"]["requester"] == "tester"

    run(main)


def test_an_id_under_way_is_refused_and_free_after_its_answer() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("job.start", name="nap", job_id="a")
            await peer.ask("job.wait", id=7, job_id="a")
            await peer.say(request("session.ping", 7))
            answer = await peer.hear()
            assert (answer["id"], answer["error"]["code"]) == (7, -32600)
            assert answer["error"]["data"]["path"] == "$.id"
            await peer.say(request("session.ping", "7"))  # a string is another id
            assert (await peer.hear())["id"] == "7"
            await peer.cancel(7)
            assert (await peer.hear())["error"]["code"] == -32800
            await peer.ask("session.ping", id=7)
            assert "head_seq" in await peer.answer(7)

    run(main)


def test_a_notification_is_done_and_never_answered() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.tell("job.start", name="nap", job_id="a")
            await peer.tell("job.wait", job_id="a")
            await peer.tell("job.nonsense")
            await peer.say({"jsonrpc": "2.0", "method": "job.get", "params": [1]})
            await peer.say({"jsonrpc": "2.0", "id": 5, "result": "an answer to nothing"})
            await peer.say(request("session.ping", 1))
            assert (await peer.hear())["id"] == 1
            assert list(world.jobs()) == ["a"]

    run(main)


# --- batches -------------------------------------------------------------------------------------


def test_a_batch_is_run_concurrently_and_answered_in_order() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.say(
                [
                    request("job.start", 1, name="nap", job_id="a"),
                    request("job.wait", 2, job_id="a"),
                    {"jsonrpc": "2.0", "method": "session.ping"},
                    7,
                    request("job.cancel", 3, job_id="a"),
                    request("job.begin", 4),
                ]
            )
            answers = await peer.hear()
            assert [answer["id"] for answer in answers] == [1, 2, None, 3, 4]
            assert answers[1]["result"]["job"]["state"] == "cancelled"
            assert answers[2]["error"]["data"]["path"] == "$[3]"
            assert answers[3]["result"]["outcome"] == "cancelling"
            assert answers[4]["error"]["code"] == -32601

    run(main)


def test_an_id_is_in_flight_until_its_batch_is_answered() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("job.start", name="nap", job_id="a")
            ping, wait = request("session.ping", 1), request("job.wait", 2, job_id="a")
            await peer.say([ping, wait, ping])
            await peer.say(ping)
            assert (await peer.hear())["error"]["code"] == -32600
            await peer.cancel(2)
            first, second, third = await peer.hear()
            assert "result" in first
            assert second["error"]["code"] == -32800
            assert third["error"]["code"] == -32600
            await peer.say(ping)
            assert "result" in await peer.hear()

    run(main)


def test_a_batch_of_notifications_gets_nothing_back() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.say([{"jsonrpc": "2.0", "method": "session.ping"}] * 2)
            await peer.say(request("session.ping", 1))
            assert (await peer.hear())["id"] == 1

    run(main)


def test_a_subscription_in_a_batch_is_answered_before_its_first_event() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.say(
                [
                    request("events.subscribe", 1, logs=True),
                    request("job.start", 2, name="talk", args={"lines": 2}, job_id="a"),
                    request("job.wait", 3, job_id="a"),
                ]
            )
            answers = await peer.hear()
            assert [answer["id"] for answer in answers] == [1, 2, 3]
            heard = [(await peer.hear()) for _ in range(5)]
            kinds = [each["params"].get("type", each["params"].get("text")) for each in heard]
            assert kinds == ["job.starting", "job.started", "line 1", "line 2", "job.finished"]

    run(main)


def test_a_batch_with_too_many_messages_is_refused_and_the_limit_told() -> None:
    async def main() -> None:
        async with open_world(limits=Limits(batch_items=3)) as world, open_peer(world) as peer:
            assert (await peer.call("session.hello"))["limits"]["batch_items"] == 3
            await peer.say([request("job.start", n, name="nap") for n in range(4)])
            refusal = await peer.hear()
            assert (refusal["id"], refusal["error"]["code"]) == (None, -32600)
            assert refusal["error"]["data"]["limit"] == 3
            assert not world.jobs()
            await peer.say([request("session.ping", n) for n in range(3)])
            assert len(await peer.hear()) == 3

    run(main)


@pytest.mark.parametrize(("items", "answer"), [(100, ""), (10, "x" * 100_000)])
def test_a_batch_lets_the_others_have_their_turn(
    items: int, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two batches that arrive together are done in turns."""
    done: list[str] = []

    def ping(session: Any, params: Any) -> Any:
        done.append(session.name)
        return answer

    monkeypatch.setitem(dispatch.HANDLERS, "session.ping", ping)  # type: ignore[arg-type]

    async def main() -> None:
        async with open_world() as world, open_peer(world) as one, open_peer(world, OTHER) as two:
            for peer in (one, two):
                await peer.say([request("session.ping", n) for n in range(items)])
            for peer in (one, two):
                assert [each["id"] for each in await peer.hear()] == [*range(items)]
            assert sorted(done) == ["other"] * items + ["tester"] * items
            assert done.index("other" if done[0] == "tester" else "tester") < items

    in_turn(main)


def test_a_batch_has_room_for_so_much_and_the_rest_is_not_done() -> None:
    async def main() -> None:
        limits = Limits(batch_bytes=100_000)
        async with open_world(limits=limits) as world, open_peer(world) as peer:
            handle = world.sup.start_nowait(
                JobRequest("nap", args={"seconds": 0, "value": "x" * 40_000}, job_id="big")
            )
            await handle.wait()
            await peer.call("job.start", name="nap", job_id="a")
            get = [request("job.get", n, job_id="big") for n in range(5)]
            cancel = request("job.cancel", 5, job_id="a")
            await peer.say([*get, cancel, request("job.wait", 6, job_id="big")])
            answers = await peer.hear()
            assert [each["id"] for each in answers] == [*range(7)]
            kinds = [each.get("error", {"data": {"kind": ""}})["data"]["kind"] for each in answers]
            assert kinds[:3] == ["", "", "overloaded"]
            assert answers[2]["error"]["data"]["retryable"] is False
            assert len(json.dumps(answers)) < 100_000 + 20_000
            await peer.say(get[:2])  # the room is free again
            assert all("result" in each for each in await peer.hear())

    run(main)


def test_what_has_no_room_in_its_batch_is_not_done() -> None:
    async def main() -> None:
        limits = Limits(batch_bytes=1)
        async with open_world(limits=limits) as world, open_peer(world) as peer:
            await peer.say([request("session.ping", 1), request("job.start", 2, name="nap")])
            first, second = await peer.hear()
            assert "result" in first
            assert second["error"]["data"]["kind"] == "overloaded"
            assert second["error"]["data"]["retryable"] is True
            assert not world.jobs()

    run(main)


def test_a_late_answer_that_does_not_fit_its_batch_says_so() -> None:
    async def main() -> None:
        limits = Limits(batch_bytes=50_000)
        async with open_world(limits=limits) as world, open_peer(world) as peer:
            args = {"seconds": 1, "value": "x" * 40_000}
            await peer.call("job.start", name="nap", args=args, job_id="big")
            await peer.say([request("job.wait", n, job_id="big") for n in range(5)])
            answers = await peer.hear()
            assert ["result" in each for each in answers].count(True) == 1
            assert len(json.dumps(answers)) < 50_000

    run(main)


# --- waits ---------------------------------------------------------------------------------------


def test_cancel_request_of_a_subscription_that_waits_for_its_batch_leaves_it_alive() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("job.start", name="nap", job_id="a")
            await peer.say([request("events.subscribe", 1), request("job.wait", 2, job_id="a")])
            await peer.cancel(1)
            await peer.call("session.ping")
            await peer.cancel(2)
            answers = await peer.hear()
            assert answers[0]["result"]["subscription_id"] == "e1"
            await peer.call("job.start", name="nap", job_id="b")
            assert (await peer.event("job.started"))["job_id"] == "b"

    run(main)


def test_cancel_request_of_a_run_that_waits_for_its_batch_is_too_late() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("job.start", name="nap", job_id="a")
            run_it = request("job.run", 1, name="stubborn", args={"seconds": 1}, job_id="b")
            await peer.say([run_it, request("job.wait", 2, job_id="a")])
            await trio.sleep(2)
            asked: list[str] = []
            world.sup.cancel_nowait = lambda job_id, **_: asked.append(job_id)  # type: ignore[method-assign,assignment,return-value]
            await peer.cancel(1)
            await peer.call("session.ping")
            assert asked == []
            await peer.cancel(2)
            assert (await peer.hear())[0]["result"]["job"]["state"] == "succeeded"

    run(main)


def test_cancel_request_of_a_run_leaves_the_next_job_of_this_id_alone() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            args = {"seconds": 1, "value": "x" * 100_000}
            id = await peer.ask("job.run", name="nap", args=args, job_id="a")
            await peer.call("session.ping")
            async with world.server.turnstile.lock:  # so that its answer has to wait
                await trio.sleep(2)
                world.sup.start_nowait(JobRequest("nap", job_id="a", id_reuse_policy="allow"))
                await peer.cancel(id)
                await peer.call("session.ping")
            assert (await peer.answer(id))["job"]["state"] == "succeeded"
            assert world.jobs() == {"a": "running"}

    run(main)


def test_cancel_request_ends_a_wait_and_leaves_the_job_alone() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("job.start", name="nap", job_id="a")
            id = await peer.ask("job.wait", job_id="a")
            await peer.cancel(id)
            with pytest.raises(Refused) as refused:
                await peer.answer(id)
            assert refused.value.code == -32800
            assert refused.value.data["kind"] == "request_cancelled"
            await peer.cancel("nothing of this id")
            assert world.jobs() == {"a": "running"}

    run(main)


def test_cancel_request_on_a_run_cancels_the_job_it_created() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            id = await peer.ask("job.run", name="nap", job_id="a")
            await peer.cancel(id)
            job = (await peer.answer(id))["job"]
            assert (job["state"], job["cause"]) == ("cancelled", "user")

    run(main)


def test_cancel_request_on_a_run_that_found_the_job_only_ends_the_wait() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("job.start", name="nap", job_id="a")
            id = await peer.ask("job.run", name="nap", job_id="a")
            await peer.cancel(id)
            with pytest.raises(Refused) as refused:
                await peer.answer(id)
            assert refused.value.code == -32800
            assert world.jobs() == {"a": "running"}

    run(main)


def test_a_second_cancel_request_ends_the_wait_for_a_job_that_resists() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            id = await peer.ask("job.run", name="stubborn", args={"seconds": 600}, job_id="a")
            await peer.cancel(id)
            await peer.cancel(id)
            with pytest.raises(Refused) as refused:
                await peer.answer(id)
            assert refused.value.code == -32800
            assert world.jobs() == {"a": "cancelling"}

    in_turn(main)


def test_run_gives_the_result_and_a_failed_job_is_a_result_too() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            job = (await peer.call("job.run", name="nap", args={"seconds": 1, "value": "x"}))["job"]
            assert (job["state"], job["result"], job["on_disconnect"]) == (
                "succeeded",
                "x",
                "linger",
            )
            job = (await peer.call("job.run", name="fail"))["job"]
            assert job["state"] == "failed"
            assert job["error"]["type"] == "ValueError"

    run(main)


def test_a_wait_that_takes_too_long_says_how_the_job_stands() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("job.start", name="nap", job_id="a")
            with pytest.raises(Refused) as refused:
                await peer.call("job.wait", job_id="a", timeout=5)
            assert refused.value.code == -32017
            assert refused.value.data["retryable"] is True
            assert refused.value.data["job"]["state"] == "running"

    run(main)


def test_cancel_answers_at_once_or_when_the_job_is_gone_or_stuck() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("job.start", name="nap", job_id="a")
            reply = await peer.call("job.cancel", job_id="a", wait="finished", reason="enough")
            assert (reply["outcome"], reply["job"]["state"]) == ("cancelling", "cancelled")
            assert reply["certificate"]["first_request"]["requester"] == "tester"
            assert reply["certificate"]["first_request"]["reason"] == "enough"
            again = await peer.call("job.cancel", job_id="a", wait="finished")
            assert again["outcome"] == "already_cancelled"
            await peer.call("job.start", name="stubborn", args={"seconds": 900}, job_id="b")
            reply = await peer.call("job.cancel", job_id="b", grace=1, wait="finished", timeout=0)
            assert reply["job"]["state"] == "cancelling"
            reply = await peer.call("job.cancel", job_id="b", wait="finished")
            assert (reply["outcome"], reply["job"]["state"]) == ("joined", "stuck")

    run(main)


def test_too_many_requests_under_way_are_refused_but_cancelling_still_works() -> None:
    async def main() -> None:
        limits = Limits(pending_requests=3)
        async with open_world(limits=limits) as world, open_peer(world) as peer:
            await peer.call("job.start", name="nap", job_id="a")
            waits = [await peer.ask("job.wait", job_id="a") for _ in range(3)]
            with pytest.raises(Refused) as refused:
                await peer.call("job.wait", job_id="a")
            assert refused.value.code == -32013
            assert refused.value.data["retry_after"] > 0
            reply = await peer.call("job.cancel", job_id="a", wait="finished")
            assert reply["job"]["state"] == "cancelled"
            for id in waits:
                assert (await peer.answer(id))["job"]["state"] == "cancelled"

    run(main)


# --- many ----------------------------------------------------------------------------------------


def test_many_are_started_and_cancelled_with_one_answer_each() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            jobs = [{"name": "nap", "job_id": f"j{n}"} for n in range(120)]
            jobs[60] = {"name": "unheard of"}
            jobs[61] = {"name": "nap", "args": {"seconds": []}}
            results = (await peer.call("job.start_many", jobs=jobs))["results"]
            assert len(results) == 120
            assert results[0]["result"]["created"] is True
            assert results[60]["error"]["data"]["kind"] == "unknown_job_name"
            assert results[61]["error"]["data"]["path"] == "$.params.jobs[61].args.seconds"
            ids = ["j0", "nobody", "j1"]
            results = (
                await peer.call("job.cancel_many", filter={"job_ids": ids}, wait="finished")
            )["results"]
            assert [each.get("result", {}).get("outcome") for each in results] == [
                "cancelling",
                None,
                "cancelling",
            ]
            assert results[0]["result"]["job"]["state"] == "cancelled"
            assert results[1]["error"]["code"] == -32001
            results = (await peer.call("job.cancel_many", filter={}, wait="finished"))["results"]
            assert len(results) == 116
            assert set(world.jobs().values()) == {"cancelled"}

    run(main)


def test_a_bulk_cancel_goes_on_when_its_client_has_left() -> None:
    async def main() -> None:
        async with open_world() as world:
            async with open_peer(world) as peer:
                jobs = [{"name": "nap"} for _ in range(900)]
                await peer.call("job.start_many", jobs=jobs)
                await peer.ask("job.cancel_many", filter={})
                while set(world.jobs().values()) == {"running"}:  # it has not begun  # noqa: ASYNC110 - one step at a time
                    await trio.lowlevel.checkpoint()
            assert "running" in world.jobs().values(), "it was over before the client left"
            await trio.testing.wait_all_tasks_blocked()
            assert set(world.jobs().values()) == {"cancelled"}

    in_turn(main)


def test_a_bulk_start_is_not_interrupted() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            id = await peer.ask("job.start_many", jobs=[{"name": "nap"}] * 900)
            await peer.cancel(id)
            results = (await peer.answer(id))["results"]
            assert len(results) == len(world.jobs()) == 900

    run(main)


def test_a_large_bulk_answer_leaves_the_records_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "WHOLE_ENTRIES", 2)

    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("job.start_many", jobs=[{"name": "nap"}] * 3)
            results = (await peer.call("job.cancel_many", filter={}))["results"]
            assert all(set(each["result"]) >= {"outcome", "job_id", "seq"} for each in results)
            assert not any("job" in each["result"] for each in results)

    run(main)


def test_a_large_bulk_answer_tells_what_is_gone_from_what_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatch, "WHOLE_ENTRIES", 2)
    large = {f"label-{n}": "x" * 4096 for n in range(64)}

    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            jobs = [{"name": "nap", "job_id": f"nap-{n}"} for n in range(2)]
            slow = {"name": "stubborn", "args": {"seconds": 900}, "labels": large}
            jobs += [{**slow, "job_id": f"slow-{n}"} for n in range(2)]
            await peer.call("job.start_many", jobs=jobs)
            asked = {"filter": {}, "wait": "finished", "grace": 1}
            results = (await peer.call("job.cancel_many", timeout=0.5, **asked))["results"]
            assert [_gone_or_state(each["result"]) for each in results] == [
                ("nap-0", "gone"), ("nap-1", "gone"),
                ("slow-0", "cancelling"), ("slow-1", "cancelling"),
            ]  # fmt: skip
            assert all(len(json.dumps(each)) < 1000 for each in results)
            # What holds up a stuck job is told, too.
            results = (await peer.call("job.cancel_many", timeout=60, **asked))["results"]
            assert [_gone_or_state(each["result"])[1] for each in results] == ["stuck", "stuck"]
            assert all("why" in each["result"]["job"] for each in results)

    run(main)


def _gone_or_state(reply: dict[str, Any]) -> tuple[str, str]:
    return reply["job_id"], reply["job"]["state"] if "job" in reply else "gone"


# --- look ----------------------------------------------------------------------------------------


def test_lists_are_paged_and_filtered() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            for number in range(5):
                await peer.call(
                    "job.start", name="nap", job_id=f"j{number}", labels={"odd": str(number % 2)}
                )
            await peer.call("job.cancel", job_id="j4", wait="finished")
            page = await peer.call("job.list", limit=2)
            assert [job["id"] for job in page["jobs"]] == ["j0", "j1"]
            seq = page["seq"]
            page = await peer.call("job.list", limit=2, cursor=page["next_cursor"])
            assert [job["id"] for job in page["jobs"]] == ["j2", "j3"]
            assert page["seq"] == seq
            page = await peer.call("job.list", state="cancelled")
            assert [job["id"] for job in page["jobs"]] == ["j4"]
            page = await peer.call("job.list", state=["running"], labels={"odd": "1"})
            assert [job["id"] for job in page["jobs"]] == ["j1", "j3"]
            assert "next_cursor" not in page
            with pytest.raises(Refused) as refused:
                await peer.call("job.list", cursor="made up")
            assert refused.value.path == "$.params.cursor"

    run(main)


def test_a_page_is_cut_short_rather_than_grow_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "PAGE_BYTES", 2000)

    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("job.start_many", jobs=[{"name": "nap"}] * 10)
            seen, cursor = [], {}
            while True:
                page = await peer.call("job.list", **cursor)
                assert 1 <= len(page["jobs"]) < 10
                seen += [job["id"] for job in page["jobs"]]
                if "next_cursor" not in page:
                    break
                cursor = {"cursor": page["next_cursor"]}
            assert seen == list(world.jobs())

    run(main)


def test_logs_can_be_read_by_the_page() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("job.run", name="talk", args={"lines": 3}, job_id="a")
            page = await peer.call("job.logs", job_id="a", limit=2)
            assert [entry["text"] for entry in page["entries"]] == ["line 1", "line 2"]
            assert page["eof"] is False
            page = await peer.call("job.logs", job_id="a", since=page["next"])
            assert [entry["n"] for entry in page["entries"]] == [3]
            assert page["eof"] is True

    run(main)


def test_info_lists_the_registered_jobs_with_their_schemas() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            info = await peer.call("server.info")
            assert [job["name"] for job in info["jobs"]] == ["fail", "nap", "stubborn", "talk"]
            assert info["statistics"]["instance"] == world.sup.instance
            assert info["sessions"] == 1

    run(main)


# --- events --------------------------------------------------------------------------------------


def test_events_of_a_job_started_in_the_same_breath_are_all_seen() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.ask("events.subscribe", id=1, logs=True, progress=True)
            await peer.ask("job.start", id=2, name="talk", args={"lines": 2}, job_id="a")
            heard = [await peer.hear() for _ in range(8)]
            assert heard[0]["result"]["from_seq"] == 0
            events = [each for each in heard if "method" in each]
            kinds = [each["params"].get("type", each["method"]) for each in events]
            assert kinds == [
                "job.starting",
                "job.started",
                "events.log",
                "events.log",
                "events.progress",
                "job.finished",
            ]
            assert {each["params"]["subscription_id"] for each in events} == {
                heard[0]["result"]["subscription_id"]
            }
            assert [e["params"]["seq"] for e in events if "seq" in e["params"]] == [1, 2, 3]

    run(main)


def test_a_subscription_replays_from_a_position_and_goes_live() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("job.run", name="nap", args={"seconds": 1}, job_id="a")
            since = {"instance": world.sup.instance, "seq": 1}
            await peer.call("events.subscribe", since=since)
            assert (await peer.event("job.started"))["seq"] == 2
            assert (await peer.event("job.finished"))["seq"] == 3
            await peer.call("job.start", name="nap", job_id="b")
            assert (await peer.event("job.starting"))["seq"] == 4

    run(main)


@pytest.mark.parametrize(("instance", "seq"), [(None, 77), ("another", 0)])
def test_a_position_that_is_not_here_is_gone(instance: str | None, seq: int) -> None:
    async def main() -> None:
        limits = Limits(subscriptions=1)
        async with open_world(limits=limits) as world, open_peer(world) as peer:
            since = {"instance": instance or world.sup.instance, "seq": seq}
            with pytest.raises(Refused) as refused:
                await peer.call("events.subscribe", since=since)
            assert refused.value.code == -32010
            assert refused.value.data["head_seq"] == 0
            await peer.call("events.subscribe")  # it took no place

    run(main)


def test_a_filter_narrows_and_unsubscribing_ends_it() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            got = await peer.call("events.subscribe", filter={"job_ids": ["b"]})
            await peer.call("job.start", name="nap", job_id="a")
            await peer.call("job.start", name="nap", job_id="b")
            assert (await peer.event("job.starting"))["job_id"] == "b"
            await peer.event("job.started")
            await peer.call("events.unsubscribe", subscription_id=got["subscription_id"])
            await peer.call("job.cancel", job_id="b", wait="finished")
            await peer.call("session.ping")
            assert peer.notifications == []
            with pytest.raises(Refused) as refused:
                await peer.call("events.unsubscribe", subscription_id=got["subscription_id"])
            assert refused.value.path == "$.params.subscription_id"

    run(main)


def test_subscriptions_are_bounded_and_freed() -> None:
    async def main() -> None:
        async with (
            open_world(limits=Limits(subscriptions=2)) as world,
            open_peer(world) as peer,
        ):
            first = await peer.call("events.subscribe")
            await peer.call("events.subscribe")
            with pytest.raises(Refused) as refused:
                await peer.call("events.subscribe")
            assert refused.value.code == -32013
            await peer.call("events.unsubscribe", subscription_id=first["subscription_id"])
            await peer.call("events.subscribe")

    run(main)


# --- scopes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "params", "scope"),
    [
        ("job.cancel", {"job_id": "a"}, "cancel"),
        ("job.cancel_many", {"filter": {}}, "cancel"),
        ("job.start", {"command": ["true"]}, "exec"),
        ("job.run", {"command": ["true"]}, "exec"),
        ("job.start", {"name": "nap", "job_id": "a", "id_conflict_policy": "replace"}, "cancel"),
        ("job.run", {"name": "nap", "job_id": "a", "id_conflict_policy": "replace"}, "cancel"),
        ("server.shutdown", {}, "admin"),
    ],
)
def test_a_token_does_what_its_scopes_allow_and_no_more(
    method: str, params: dict[str, Any], scope: str
) -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world, WATCHER) as peer:
            await peer.call("job.start", name="nap", job_id="a")
            with pytest.raises(Refused, match=scope) as refused:
                await peer.call(method, **params)
            assert refused.value.code == -32016
            assert refused.value.data["scope"] == scope
            assert world.jobs() == {"a": "running"}
            assert world.sup.accepting

    run(main)


def test_a_bulk_start_needs_exec_for_the_commands_in_it() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world, WATCHER) as peer:
            jobs = [{"command": ["true"]}, {"name": "nap", "job_id": "a"}]
            results = (await peer.call("job.start_many", jobs=jobs))["results"]
            assert results[0]["error"]["code"] == -32016
            assert world.jobs() == {"a": "running"}

    run(main)


def test_a_bulk_start_needs_cancel_for_those_that_replace() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world, WATCHER) as peer:
            await peer.call("job.start", name="nap", job_id="a")
            jobs = [{"name": "nap", "job_id": "a", "id_conflict_policy": "replace"}]
            results = (await peer.call("job.start_many", jobs=jobs))["results"]
            assert results[0]["error"]["code"] == -32016
            assert results[0]["error"]["data"]["scope"] == "cancel"
            assert world.jobs() == {"a": "running"}

    run(main)


def test_the_requester_on_record_is_the_token_whatever_the_client_says() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world, SECRET) as peer:
            await peer.call("session.hello", client="root")
            job = (await peer.call("job.start", name="nap"))["job"]
            assert job["requester"] == "tester"

    run(main)
