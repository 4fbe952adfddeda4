"""What becomes of jobs whose client is gone, and how it takes them back."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing
from server_kit import OTHER, SECRET, World, open_peer, open_world, run, settled
from turns import in_turn

from supervisor._model import JobRequest
from supervisor._server import Limits
from supervisor._server.linger import Owned

LINGER = Limits().linger_seconds


async def start(peer: Any, job_id: str, on_disconnect: str | None = "linger") -> None:
    policy = {} if on_disconnect is None else {"on_disconnect": on_disconnect}
    await peer.call("job.start", name="nap", job_id=job_id, **policy)


async def leave_behind(world: World, *jobs: tuple[str, str | None]) -> str:
    """A client that starts these jobs and vanishes; its resume token."""
    async with open_peer(world) as peer:
        token: str = (await peer.call("session.hello"))["resume_token"]
        for job_id, policy in jobs:
            await start(peer, job_id, policy)
    await trio.testing.wait_all_tasks_blocked()
    return token


def test_each_policy_does_what_it_says() -> None:
    async def main() -> None:
        async with open_world() as world:
            began = trio.current_time()
            await leave_behind(world, ("k", "keep"), ("d", None), ("c", "cancel"), ("l", "linger"))
            assert world.jobs() == {
                "k": "running",
                "d": "running",
                "c": "cancelled",
                "l": "running",
            }
            job = await settled(world, "l")
            assert trio.current_time() - began == pytest.approx(LINGER)
            assert (job.cause, job.requester) == ("client_gone", "tester")
            assert (await settled(world, "c")).cause == "client_gone"
            assert world.jobs()["k"] == world.jobs()["d"] == "running"
            assert len(world.server.lingering) == 0

    run(main)


def test_run_lingers_by_default() -> None:
    async def main() -> None:
        async with open_world() as world:
            async with open_peer(world) as peer:
                await peer.ask("job.run", name="nap", job_id="a")
                await peer.call("session.ping")
            assert (await settled(world, "a")).cause == "client_gone"

    run(main)


def test_a_client_that_comes_back_in_time_has_its_jobs_again() -> None:
    async def main() -> None:
        async with open_world() as world:
            token = await leave_behind(world, ("a", "linger"))
            await trio.sleep(LINGER - 1)
            async with open_peer(world) as peer:
                hello = await peer.call("session.hello", resume_token=token)
                assert hello["resumed"] == 1
                assert hello["resume_token"] != token
                again = await peer.call("job.start", name="nap", job_id="a")
                assert again["created"] is False
                await trio.sleep(3 * LINGER)
                assert world.jobs() == {"a": "running"}
            began = trio.current_time()
            assert (await settled(world, "a")).cause == "client_gone"
            assert trio.current_time() - began == pytest.approx(LINGER)

    run(main)


def test_the_old_token_still_serves_however_often_the_answer_with_the_new_one_was_lost() -> None:
    async def main() -> None:
        async with open_world() as world:
            token = await leave_behind(world, ("a", "linger"))
            for _ in range(5):
                async with open_peer(world) as peer:
                    assert (await peer.call("session.hello", resume_token=token))["resumed"] == 1
                await trio.testing.wait_all_tasks_blocked()

    run(main)


def test_a_client_can_be_back_before_we_notice_that_it_was_gone() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as old:
            token = (await old.call("session.hello"))["resume_token"]
            await start(old, "a")
            async with open_peer(world) as new:
                assert (await new.call("session.hello", resume_token=token))["resumed"] == 1
                assert await old.closed() == 1008
                await trio.sleep(3 * LINGER)
                assert world.jobs() == {"a": "running"}

    run(main)


def test_nobody_else_takes_over_an_open_connection() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as old, open_peer(world, OTHER) as new:
            token = (await old.call("session.hello"))["resume_token"]
            await start(old, "a")
            assert (await new.call("session.hello", resume_token=token))["resumed"] == 0
            assert await old.call("session.ping")

    run(main)


@pytest.mark.parametrize("who", [SECRET, OTHER])
def test_nobody_else_and_no_other_token_resumes(who: str) -> None:
    async def main() -> None:
        async with open_world() as world:
            token = await leave_behind(world, ("a", "linger"))
            said = token if who == OTHER else token + "x"
            async with open_peer(world, who) as peer:
                assert (await peer.call("session.hello", resume_token=said))["resumed"] == 0
                assert (await settled(world, "a")).cause == "client_gone"

    run(main)


def test_a_job_that_took_over_the_id_is_left_alone() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world, OTHER) as other:
            await leave_behind(world, ("a", "linger"))
            await other.call("job.cancel", job_id="a", wait="finished")
            await other.call("job.start", name="nap", job_id="a", id_reuse_policy="allow")
            await trio.sleep(3 * LINGER)
            assert world.jobs() == {"a": "running"}

    run(main)


def test_a_job_that_was_found_and_not_created_is_not_ours_to_cancel() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world, OTHER) as other:
            await start(other, "a", "cancel")
            await leave_behind(world, ("a", "cancel"))
            await trio.sleep(3 * LINGER)
            assert world.jobs() == {"a": "running"}

    run(main)


def test_a_session_forgets_jobs_that_have_ended() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            for _ in range(3):
                jobs = [{"name": "nap", "args": {"seconds": 1}, "on_disconnect": "linger"}] * 1000
                await peer.call("job.start_many", jobs=jobs)
                await trio.sleep(2)
            (session,) = world.server.sessions
            assert len(session.owned) <= 2000

    run(main)


def test_when_the_server_stops_nobody_can_come_back_and_nothing_lingers() -> None:
    from server_kit import TOKENS, registry

    from supervisor._open import open_supervisor
    from supervisor._server import Auth, open_server

    async def main() -> None:
        async with open_supervisor(registry()) as sup:
            async with open_server(sup, auth=Auth(TOKENS)) as server:
                world = World(sup, server)
                await leave_behind(world, ("a", "linger"), ("k", "keep"))
                async with open_peer(world) as peer:
                    await start(peer, "b", "linger")
                    await start(peer, "c", "cancel")
                    began = trio.current_time()
                    with trio.CancelScope() as scope:
                        scope.cancel()
                        await trio.lowlevel.checkpoint()
            assert trio.current_time() - began < 3
            await trio.testing.wait_all_tasks_blocked()
            assert world.jobs() == {
                "a": "cancelled",
                "k": "running",
                "b": "cancelled",
                "c": "cancelled",
            }

    run(main)


def test_what_the_old_connection_goes_on_to_start_is_the_new_ones() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as old, open_peer(world) as new:
            token = (await old.call("session.hello"))["resume_token"]
            (session,) = [each for each in world.server.sessions if each.greeted]
            await old.ask(
                "job.start_many", jobs=[{"name": "nap", "on_disconnect": "linger"}] * 1000
            )
            for _ in range(10_000):
                if len(session.owned):
                    break
                await trio.lowlevel.checkpoint()
            # It is taken over in the middle, and comes to start another one.
            assert (await new.call("session.hello", resume_token=token))["resumed"] >= 1
            late = world.sup.start_nowait(JobRequest("nap", on_disconnect="linger")).record
            session.owned.add(late)
            assert await old.closed() == 1008
            await trio.sleep(3 * LINGER)
            assert set(world.jobs().values()) == {"running"}
            (heir,) = world.server.sessions
            assert len(heir.owned) == len(world.jobs())

    in_turn(main)


def test_an_heir_that_is_gone_inherits_nothing() -> None:
    async def main() -> None:
        async with open_world() as world:
            first, second, third = Owned(world.sup), Owned(world.sup), Owned(world.sup)
            first.bequeath(second)
            second.bequeath(third)
            request = JobRequest("nap", on_disconnect="linger")
            first.add(world.sup.start_nowait(request).record)
            assert (len(first), len(second), len(third)) == (0, 0, 1)
            world.server.lingering.leave("tester", ("3",), third)
            first.add(world.sup.start_nowait(request).record)
            assert (len(first), len(second), len(third)) == (0, 1, 0)
            world.server.lingering.leave("tester", ("2",), second)
            first.add(world.sup.start_nowait(request).record)
            assert (len(first), len(second), len(third)) == (1, 0, 0)

    run(main)
