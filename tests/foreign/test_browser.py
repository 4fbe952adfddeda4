"""The example page in headless Chromium, against a real server: what it says, and when."""

from __future__ import annotations

import itertools
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
from foreign_link import Link, open_link
from foreign_pages import open_pages
from foreign_server import HERE, Served, open_program

pytest.importorskip("websockets", reason="the PyPI package websockets is not here")

from chromium import Browser, Page


@attrs.frozen
class World:
    """A page, a server that others use, too, and the link between them; `tag` makes ids unique."""

    page: Page
    server: Served
    link: Link
    tag: str

    def id(self, name: str) -> str:
        return f"{name}-{self.tag}"

    def call(self, method: str, **params: Any) -> Any:
        """What somebody else asks of the server."""
        return self.server.call(method, **params)

    def start(self, name: str, **options: Any) -> None:
        """Start a job that ends when its gate is opened, also when it is cancelled before."""
        args = {"name": self.id(name)}
        self.call("job.start", name="gate", args=args, job_id=self.id(name), **options)

    def let_go(self, name: str) -> None:
        self.call("job.run", name="open_gate", args={"name": self.id(name)})

    def get(self, name: str) -> Any:
        return self.call("job.get", job_id=self.id(name))["job"]

    def cell(self, name: str, number: int) -> str:
        """The expression for a cell in the row of this job."""
        return f"document.getElementById('job {self.id(name)}')?.cells[{number}]"

    def note_states(self, name: str) -> None:
        """From now on, note every state that the row of this job shows."""
        self.page.run(
            f"globalThis.shown = []; new MutationObserver(() => shown.push({self.cell(name, 2)}"
            f".innerText)).observe({self.cell(name, 2)}, {{childList: true}})"
        )

    def noted_states(self) -> list[str]:
        """Each that was shown, once as long as it stayed."""
        return [state for state, _ in itertools.groupby(self.page.run("shown"))]

    def note_timers(self) -> None:
        """From now on, `timers` has the id of each timer of the page that still runs."""
        self.page.run(
            "globalThis.timers = new Set(); { const set = setTimeout, clear = clearTimeout;"
            " globalThis.setTimeout = (act, ms) => {"
            " const id = set(() => (timers.delete(id), act()), ms); timers.add(id); return id };"
            " globalThis.clearTimeout = (id) => { timers.delete(id); clear(id) } }"
        )

    def timers(self) -> list[int]:
        """Those that still run."""
        return list(self.page.run("[...timers]"))

    def press_cancel(self, name: str) -> None:
        self.page.click(f"{self.cell(name, 4)}.firstChild")

    def connect_page(self, token: str | None = None) -> None:
        """Type the address and the token, and press the button."""
        self.page.type("document.forms[0].url", self.link.url)
        self.page.type("document.forms[0].token", token or self.server.token)
        self.page.click("document.querySelector('form button')")

    def row(self, name: str, state: str) -> str:
        """Wait until the row of this job shows this state; the row's text."""
        self.page.when(f"{self.cell(name, 2)}?.innerText === {json.dumps(state)}")
        return str(self.page.run(f"{self.cell(name, 0)}.parentNode.innerText"))

    def why(self, name: str, why: str) -> None:
        """Wait until the row of this job gives this reason."""
        self.page.when(f"{self.cell(name, 3)}?.innerText === {json.dumps(why)}")

    def says(self, beginning: str) -> None:
        """Wait until the page says this of its connection."""
        status = "document.getElementById('status').innerText"
        self.page.when(f"{status}.startsWith({json.dumps(beginning)})")

    def watching(self) -> None:
        self.says("watching")

    def methods(self) -> list[str]:
        """What the page has asked for, in order."""
        return [json.loads(each)["method"] for each in self.page.sent]


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    with open_pages() as where:
        yield where


PROGRAM = str(HERE / "foreign_program.py")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, origin: str, browser: Any) -> Iterator[Served]:
    """A server that lets the page in."""
    with open_program(tmp_path_factory.mktemp("calm"), PROGRAM, origin, "10") as server:
        yield server


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory, origin: str, browser: Any) -> Iterator[Served]:
    """A server that sends bookmarks often, and whose silence is soon noticed."""
    with open_program(tmp_path_factory.mktemp("quick"), PROGRAM, origin, "0.5") as server:
        yield server


@contextmanager
def open_world(browser: Browser, origin: str, server: Served) -> Iterator[World]:
    with (
        open_link(server.port) as link,
        browser.open_page(f"{origin}/browser.html") as page,
    ):
        yield World(page, server, link, secrets.token_hex(4))


@pytest.fixture
def world(browser: Browser, origin: str, calm: Served) -> Iterator[World]:
    with open_world(browser, origin, calm) as each:
        yield each


@pytest.fixture
def quick_world(browser: Browser, origin: str, quick: Served) -> Iterator[World]:
    with open_world(browser, origin, quick) as each:
        yield each


def test_jobs_come_and_go(world: World) -> None:
    world.start("before")
    world.connect_page()
    world.row("before", "running")
    world.start("later")
    assert "gate" in world.row("later", "running")
    world.let_go("later")
    world.row("later", "succeeded")
    world.call("job.run", name="fail", job_id=world.id("bad"))
    assert "as told" in world.row("bad", "failed")
    assert world.page.run(f"{world.cell('bad', 4)}.firstChild.disabled") is True
    world.row("before", "running")


def test_cancelled_is_said_when_it_is_gone(world: World) -> None:
    world.start("mine")
    world.connect_page()
    world.row("mine", "running")
    world.watching()
    world.note_states("mine")
    world.press_cancel("mine")
    # The job has been told, and the page has heard so; it still cleans up.
    world.why("mine", "asked for in the browser")
    assert world.get("mine")["state"] == "cancelling"
    assert world.noted_states() == ["cancelling"]
    world.let_go("mine")
    world.row("mine", "cancelled")
    assert world.noted_states() == ["cancelling", "cancelled"]
    assert world.methods().count("job.cancel") == 1


def test_a_job_that_does_not_stop_is_said_to_be_stuck(world: World) -> None:
    world.start("mine", grace=0)
    world.connect_page()
    world.row("mine", "running")
    world.watching()
    world.press_cancel("mine")
    world.row("mine", "stuck")
    world.let_go("mine")
    world.row("mine", "cancelled")


def test_a_long_list_is_watched_once_all_of_it_is_here(
    tmp_path: Path, browser: Browser, origin: str
) -> None:
    with (
        open_program(tmp_path, PROGRAM, origin, "1") as server,
        open_world(browser, origin, server) as world,
    ):
        jobs = [{"name": "nap", "args": {"seconds": 0}} for _ in range(1001)]
        world.call("job.start_many", jobs=jobs)
        world.start("mine")
        # The second page does not come, so there is nothing yet that could be watched.
        world.link.lose(world.id("mine"))
        world.connect_page()
        world.row("mine", "running")
        world.watching()
        assert world.page.run("document.querySelectorAll('#jobs tr').length") == 1002
        assert world.link.losses() == 1
        assert "job.list job.list events.subscribe" in " ".join(world.methods())


def test_goes_on_from_where_it_was(world: World) -> None:
    world.start("mine")
    world.connect_page()
    world.watching()
    world.link.cut()
    world.says("connection lost")
    world.let_go("mine")
    world.start("another")
    world.link.mend()
    world.row("mine", "succeeded")
    world.row("another", "running")
    # By replay, not by looking at everything again.
    assert world.methods().count("job.list") == 1
    subscribed = [json.loads(each) for each in world.page.sent if "events.subscribe" in each]
    assert len(subscribed) == 2
    assert subscribed[1]["params"]["since"]["seq"] >= subscribed[0]["params"]["since"]["seq"]


def test_a_cancel_asked_for_while_the_link_is_down_is_asked_again(world: World) -> None:
    world.start("mine")
    world.connect_page()
    world.row("mine", "running")
    world.watching()
    world.link.cut()
    world.says("connection lost")
    world.press_cancel("mine")
    world.row("mine", "cancelling")
    assert world.get("mine")["state"] == "running"
    world.link.mend()
    world.why("mine", "asked for in the browser")
    world.let_go("mine")
    world.row("mine", "cancelled")


@pytest.mark.parametrize("type", ["job.cancelling", "job.finished"])
def test_a_lost_message_is_noticed(world: World, type: str) -> None:
    world.start("mine")
    world.connect_page()
    world.row("mine", "running")
    world.watching()
    world.link.lose(f'"{type}"')
    world.call("job.cancel", job_id=world.id("mine"))
    world.let_go("mine")
    # The gap shows by the event after it.
    world.row("mine", "cancelled")
    assert (world.link.losses(), world.link.connections()) == (1, 2)
    assert world.methods().count("job.list") == 1


def test_another_instance_is_looked_at_anew(world: World, tmp_path: Path, origin: str) -> None:
    world.start("mine")
    world.connect_page()
    world.row("mine", "running")
    world.watching()
    world.link.cut()
    (tmp_path / "token").write_text(world.server.token)
    with open_program(tmp_path, PROGRAM, origin, "10") as successor:
        world.link.lead_to(successor.port)
        world.link.mend()
        world.says(f"watching instance {successor.instance}")
        assert world.page.run(f"{world.cell('mine', 0)} === undefined")
        attrs.evolve(world, server=successor).start("mine")
        world.row("mine", "running")
        world.link.cut()


def test_silence_is_noticed(quick_world: World) -> None:
    quick_world.start("mine")
    quick_world.connect_page()
    quick_world.watching()
    quick_world.link.hush()
    quick_world.let_go("mine")
    # Nothing is closed, and nothing comes: only the bookmarks that stay away tell.
    quick_world.row("mine", "succeeded")
    assert quick_world.link.connections() >= 2


def test_a_bookmark_is_a_sign_of_life(quick_world: World) -> None:
    quick_world.note_timers()
    quick_world.connect_page()
    quick_world.watching()
    [armed] = quick_world.timers()
    quick_world.page.received("events.bookmark")
    assert quick_world.timers() not in ([], [armed])


def test_a_wrong_token_is_said_and_not_tried_again(world: World) -> None:
    world.note_timers()
    world.connect_page(secrets.token_hex())
    world.says("not let in: 4401")
    assert world.timers() == []
    world.connect_page()
    world.watching()


def test_the_token_is_nowhere_in_the_page(world: World) -> None:
    world.connect_page()
    world.watching()
    shown = world.page.run("document.documentElement.outerHTML + location.href + document.cookie")
    assert world.server.token not in shown
    assert world.page.run("localStorage.length + sessionStorage.length") == 0


def test_what_a_job_says_is_text(world: World) -> None:
    world.connect_page()
    world.watching()
    world.start("mine")
    markup = "<img src=x onerror=alert(1)><b>bold</b>"
    world.call("job.cancel", job_id=world.id("mine"), reason=markup)
    world.why("mine", markup)
    assert world.page.run("document.querySelector('#jobs img, #jobs b')") is None
    world.let_go("mine")
    world.row("mine", "cancelled")


def test_a_page_of_another_origin_is_turned_away(world: World) -> None:
    with open_pages() as elsewhere:
        world.page.go(f"{elsewhere}/browser.html")
        world.connect_page()
        world.says("connection lost")
        assert world.methods() == []
