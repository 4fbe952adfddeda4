"""A result that cannot be sent is made into JSON once, and told of at every look."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs
import pytest
from server_kit import open_peer, open_world, run

from supervisor import Job, JobState
from supervisor._server import verdicts


class Counted(dict[str, str]):
    """Counts how often it is looked at."""

    looks = 0

    def items(self) -> Any:
        self.looks += 1
        return super().items()


async def ended(world: Any, value: Any, job_id: str, **options: Any) -> None:
    async def work() -> Any:
        return value

    await (await world.sup.start(work, job_id=job_id, **options)).wait()


def test_a_result_that_is_too_large_is_made_into_json_once() -> None:
    large = Counted(x="y" * 2**20)

    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await ended(world, large, "a")
            seen = [(await peer.call("job.get", job_id="a"))["job"] for _ in range(3)]
            assert "has 1048585 bytes as JSON" in seen[0]["result_error"]
            assert seen[0] == seen[1] == seen[2] and "result" not in seen[0]
            assert large.looks == 1
            job = (await peer.call("job.cancel", job_id="a"))["job"]
            assert (job, large.looks) == (seen[0], 1)
            pages = [(await peer.call("job.list"))["jobs"] for _ in range(3)]
            assert "job.get sends more" in pages[0][0]["result_error"]
            assert pages[0] == pages[1] == pages[2]
            assert large.looks == 2

    run(main)


def test_what_fits_is_sent_at_every_look() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await ended(world, Counted(x="y" * 5000), "a")
            for _ in range(2):
                (job,) = (await peer.call("job.list"))["jobs"]
                assert "result" not in job
                job = (await peer.call("job.get", job_id="a"))["job"]
                assert job["result"] == {"x": "y" * 5000} and "result_error" not in job

    run(main)


def test_another_attempt_is_another_result() -> None:
    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            await ended(world, {1, 2}, "a")
            assert "result_error" in (await peer.call("job.get", job_id="a"))["job"]
            await ended(world, [1, 2], "a", id_reuse_policy="allow")
            assert (await peer.call("job.get", job_id="a"))["job"]["result"] == [1, 2]

    run(main)


@pytest.mark.parametrize(
    "other", [{"id": "b"}, {"attempt": 2}, {"created_at": datetime(2026, 1, 2, tzinfo=UTC)}]
)
def test_another_job_is_judged_by_its_own_result(other: dict[str, Any]) -> None:
    known = verdicts.Verdicts()
    job = Job(
        id="a",
        name="work",
        kind="async",
        state=JobState.SUCCEEDED,
        attempt=1,
        version=3,
        seq=3,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        result={1, 2},
    )
    for _ in range(2):
        assert "result_error" in known.job_to_wire(job)
    assert known.job_to_wire(attrs.evolve(job, result=[1], **other))["result"] == [1]


def test_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts, "KEPT", 2)
    values = [Counted(x="y" * 5000) for _ in range(3)]

    async def main() -> None:
        async with open_world() as world, open_peer(world) as peer:
            for number, value in enumerate(values):
                await ended(world, value, f"j{number}")
            for job_id in ("j0", "j1", "j2"):
                await peer.call("job.list", job_ids=[job_id])
            assert repr(world.server.verdicts) == "<Verdicts on 2 results>"
            for job_id in ("j2", "j1", "j0"):
                await peer.call("job.list", job_ids=[job_id])
            assert [value.looks for value in values] == [2, 1, 1]

    run(main)
