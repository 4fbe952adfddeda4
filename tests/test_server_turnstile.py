"""Bulk work in small pieces, and the others in between."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

import pytest
import trio
import trio.testing
from server_kit import OTHER, Refused, open_peer, open_world, request, run
from turns import in_turn

import supervisor._server.turnstile as turnstile_module
from supervisor._server import Limits
from supervisor._server.turnstile import Lane, Turnstile


@pytest.fixture
def smallest_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step at a turn."""
    monkeypatch.setattr(turnstile_module, "SLICE", 0.0)
    monkeypatch.setattr(turnstile_module, "perf_counter", iter(range(10**9)).__next__)


def counting(steps: int, log: list[Any], name: str = "") -> Generator[None, None, str]:
    for n in range(steps):
        log.append((name, n))
        yield
    return f"{name} done"


def test_work_gives_its_result() -> None:
    async def main() -> None:
        log: list[Any] = []
        assert await Lane(Turnstile()).do(counting(1000, log, "a")) == "a done"
        assert len(log) == 1000
        assert await Lane(Turnstile()).do(counting(0, log, "b")) == "b done"

    run(main)


def test_an_error_of_the_work_comes_out_and_the_next_has_its_turn() -> None:
    def broken() -> Generator[None, None, None]:
        yield
        raise ValueError("as told")

    async def main() -> None:
        bulk = Lane(Turnstile())
        with pytest.raises(ValueError, match="as told"):
            await bulk.do(broken())
        assert await bulk.do(counting(3, [])) == " done"

    run(main)


@pytest.mark.usefixtures("smallest_pieces")
def test_one_piece_a_turn_of_the_loop_however_many_want() -> None:
    async def main() -> None:
        bulk = Turnstile()
        log: list[Any] = []
        pieces_in_a_turn: list[int] = []

        async def watch() -> None:
            before = 0
            while True:
                await trio.lowlevel.checkpoint()
                pieces_in_a_turn.append(len(log) - before)
                before = len(log)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            async with trio.open_nursery() as workers:
                for name in range(20):
                    workers.start_soon(Lane(bulk).do, counting(10, log, str(name)))
            nursery.cancel_scope.cancel()
        assert len(log) == 200
        # The watcher runs once a turn, before or behind the piece of that turn.
        assert max(pieces_in_a_turn) <= 2

    for _ in range(20):
        in_turn(main)


@pytest.mark.usefixtures("smallest_pieces")
def test_whoever_came_first_goes_first_and_nobody_twice_in_a_row() -> None:
    async def main() -> None:
        bulk = Turnstile()
        log: list[Any] = []
        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(Lane(bulk).do, counting(4, log, name))
        order = [name for name, _ in log]
        assert order == order[:3] * 4
        assert sorted(order[:3]) == ["a", "b", "c"]

    for _ in range(20):
        in_turn(main)


@pytest.mark.usefixtures("smallest_pieces")
def test_whoever_wants_a_lot_makes_the_others_wait_for_one_piece_only() -> None:
    async def main() -> None:
        bulk = Turnstile()
        greedy, modest = Lane(bulk), Lane(bulk)
        log: list[Any] = []
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(greedy.do, counting(10, log, "greedy"))
            await trio.testing.wait_all_tasks_blocked()
            log.clear()
            for _ in range(100):
                nursery.start_soon(greedy.do, counting(10, log, "greedy"))
            await modest.do(counting(10, log, "modest"))
            assert [name for name, _ in log].count("greedy") <= 12
            nursery.cancel_scope.cancel()

    run(main)


@pytest.mark.usefixtures("smallest_pieces")
def test_a_cancelled_caller_leaves_the_line_and_its_work_is_closed() -> None:
    closed: list[bool] = []

    def work() -> Generator[None, None, None]:
        try:
            while True:
                yield
        finally:
            closed.append(True)

    async def main() -> None:
        bulk = Lane(Turnstile())
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                nursery.start_soon(bulk.do, counting(100, []))
                scope.cancel()
                await bulk.do(work())
            assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bulk.do, work())
            for _ in range(10):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert closed == [True]  # work that never began has nothing to close
        assert await bulk.do(counting(1, [])) == " done"

    in_turn(main)


# --- over a connection ---------------------------------------------------------------------------


@pytest.mark.usefixtures("smallest_pieces")
def test_a_cancel_is_served_ahead_of_bulk() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as bulky, open_peer(world) as one:
            jobs = [{"name": "nap"}] * 300
            await bulky.call("job.start_many", jobs=jobs)
            await one.call("job.start", name="nap", job_id="a")
            for _ in range(10):
                await bulky.ask("job.list", limit=1000)
            page = await bulky.ask("job.list", limit=1000)
            reply = await one.call("job.cancel", job_id="a", wait="finished")
            assert reply["job"]["state"] == "cancelled"
            lines = [each._large.statistics() for each in world.server.sessions]
            assert max(line.tasks_waiting for line in lines) >= 9
            assert len((await bulky.answer(page))["jobs"]) == 301

    run(main)


@pytest.mark.usefixtures("smallest_pieces")
def test_what_comes_behind_a_start_many_finds_its_jobs() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            jobs = [{"name": "nap", "job_id": f"j{n}"} for n in range(100)]
            await peer.say(request("job.start_many", 1, jobs=jobs))
            await peer.say(request("job.cancel", 2, job_id="j99"))
            answers = {each["id"]: each for each in [await peer.hear(), await peer.hear()]}
            assert answers[2]["result"]["outcome"] == "cancelling"
            assert all(each["result"]["created"] for each in answers[1]["result"]["results"])

    for _ in range(10):
        run(main)


@pytest.mark.usefixtures("smallest_pieces")
@pytest.mark.parametrize("wait", ["accepted", "finished"])
def test_what_comes_behind_a_cancel_many_is_not_cancelled_by_it(wait: str) -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("job.start_many", jobs=[{"name": "nap"}] * 50)
            async with world.server.turnstile.lock:
                await peer.say(request("job.cancel_many", 1, filter={}, wait=wait))
                await peer.say(request("job.start", 2, name="nap", job_id="new"))
                await trio.testing.wait_all_tasks_blocked()
            answers = {each["id"]: each for each in [await peer.hear(), await peer.hear()]}
            assert len(answers[1]["result"]["results"]) == 50
            assert world.jobs()["new"] == "running"

    for _ in range(10):
        run(main)


def test_who_waits_for_the_end_of_many_can_go_on_asking() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("job.start", name="stubborn", args={"seconds": 100})
            await peer.ask("job.cancel_many", id="all", filter={}, wait="finished")
            began = trio.current_time()
            await peer.call("session.ping")
            assert trio.current_time() == began
            assert len((await peer.answer("all"))["results"]) == 1
            assert trio.current_time() > began

    run(main)


@pytest.mark.usefixtures("smallest_pieces")
@pytest.mark.parametrize("put_out", [False, True])
def test_a_client_that_leaves_saves_no_job_of_its_cancel_many(put_out: bool) -> None:
    async def main() -> None:
        async with open_world() as world:
            async with open_peer(world) as peer:
                await peer.call("job.start_many", jobs=[{"name": "nap"}] * 200)
                (session,) = world.server.sessions
                await peer.ask("job.cancel_many", filter={})
                while "cancelling" not in {  # noqa: ASYNC110
                    job.state for job in world.sup.list_nowait(limit=9)
                }:
                    await trio.lowlevel.checkpoint()  # one turn of the loop, one piece
                if put_out:
                    session.close_nowait(1008, "as told")
            await trio.testing.wait_all_tasks_blocked()
            assert set(world.jobs().values()) == {"cancelled"}

    run(main)


def test_a_large_message_waits_for_its_turn_and_a_small_one_does_not() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as one, open_peer(world) as two:
            async with world.server.turnstile.lock:
                args = {"value": "x" * 20_000}
                await one.ask("job.start", name="nap", args=args, job_id="large")
                await two.call("job.start", name="nap", job_id="small")
                await trio.testing.wait_all_tasks_blocked()
                assert list(world.jobs()) == ["small"]
            await trio.testing.wait_all_tasks_blocked()
            assert list(world.jobs()) == ["small", "large"]

    run(main)


def test_a_long_replay_waits_for_its_turn_and_misses_nothing() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as one, open_peer(world) as two:
            await two.call("job.start_many", jobs=[{"name": "nap"}] * 50)
            since = {"instance": world.sup.instance, "seq": 0}
            async with world.server.turnstile.lock:
                id = await one.ask("events.subscribe", since=since)
                await two.call("events.subscribe")
                await two.call("job.start", name="nap")
                await trio.testing.wait_all_tasks_blocked()
                (waiting,) = [
                    each
                    for each in world.server.sessions
                    if each.intake.calls
                    and any(not sub.live for sub in each.subscriptions.values())
                ]
                assert waiting is not None
            assert (await one.answer(id))["head_seq"] == 102
            await one.call("session.ping")
            await trio.testing.wait_all_tasks_blocked()
            await one.call("session.ping")
            assert [params["seq"] for _, params in one.notifications] == [*range(1, 103)]

    run(main)


def test_a_page_holds_one_item_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    import supervisor._server.dispatch as dispatch

    monkeypatch.setattr(dispatch, "PAGE_BYTES", 10)

    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            for id in "ab":
                await peer.call("job.run", name="talk", args={"lines": 2}, job_id=id)
            page = await peer.call("job.list")
            assert [job["id"] for job in page["jobs"]] == ["a"]
            page = await peer.call("job.list", cursor=page["next_cursor"])
            assert [job["id"] for job in page["jobs"]] == ["b"]
            assert "next_cursor" not in page
            log = await peer.call("job.logs", job_id="a")
            assert ([entry["n"] for entry in log["entries"]], log["next"]) == ([1], 1)

    run(main)


def test_a_page_is_cut_before_it_grows_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    import supervisor._server.dispatch as dispatch

    monkeypatch.setattr(dispatch, "PAGE_BYTES", 5000)

    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call(
                "job.start_many", jobs=[{"name": "nap", "job_id": f"j{n:02}"} for n in range(50)]
            )
            ids: list[str] = []
            cursor: dict[str, Any] = {}
            pages = 0
            while True:
                page = await peer.call("job.list", limit=40, **cursor)
                assert len(json.dumps(page["jobs"])) < 8000
                ids += [job["id"] for job in page["jobs"]]
                pages += 1
                if "next_cursor" not in page:
                    break
                cursor = {"cursor": page["next_cursor"]}
            assert ids == [f"j{n:02}" for n in range(50)]
            assert pages > 3

    run(main)


def test_a_page_of_lines_is_cut_and_goes_on_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    import supervisor._server.dispatch as dispatch

    monkeypatch.setattr(dispatch, "PAGE_BYTES", 2000)

    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await peer.call("job.start", name="talk", args={"lines": 100}, job_id="a")
            await peer.call("job.wait", job_id="a")
            numbers: list[int] = []
            since, eof = 0, False
            while not eof:
                page = await peer.call("job.logs", job_id="a", since=since)
                assert 0 < len(page["entries"]) < 30
                numbers += [entry["n"] for entry in page["entries"]]
                since, eof = page["next"], page["eof"]
            assert numbers == [*range(1, 101)]
            assert (await peer.call("job.logs", job_id="a", since=100))["entries"] == []

    run(main)


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("job.list", {"cursor": "nonsense"}, -32602),
        ("job.list", {"limit": 0}, -32602),
        ("job.logs", {"job_id": "nobody"}, -32001),
    ],
)
def test_errors_of_bulk_requests_are_answered(method: str, params: Any, code: int) -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            with pytest.raises(Refused) as refused:
                await peer.call(method, **params)
            assert refused.value.code == code
            if code == -32602:
                assert refused.value.path == f"$.params.{next(iter(params))}"

    run(main)


def test_pages_count_as_requests_under_way() -> None:
    async def main() -> None:
        limits = Limits(pending_requests=2)
        async with open_world(limits=limits) as world, open_peer(world) as peer:
            await peer.say([request("job.list", n) for n in range(3)])
            kinds = ["error" in each for each in await peer.hear()]
            assert kinds == [False, False, True]

    run(main)


@pytest.mark.parametrize("value", ["x" * 100, 7, None, [1, 2], {"a": ["b"]}, "x" * 100_000])
def test_large_results_wait_for_their_turn_and_are_the_same(value: Any) -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer, open_peer(world, OTHER):

            async def body() -> Any:
                return value

            await world.sup.start(body, job_id="a")
            await world.sup.wait("a")
            for method in ("job.get", "job.wait", "job.cancel"):
                assert (await peer.call(method, job_id="a"))["job"].get("result") == value
            (entry,) = (await peer.call("job.list"))["jobs"]
            assert entry.get("result") == (value if len(str(value)) < 4000 else None)

    run(main)
