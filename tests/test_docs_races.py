"""The pages on the race kit are true: the how-to is followed, the reference is drawn anew."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from planted import replay_all

from benchmarks.base_race import three_jobs
from supervisor.testing import explore
from supervisor.testing._schedules.control import PATIENCE

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
HOWTO = DOCS / "howto" / "find-races.md"
RACE_KIT = DOCS / "race-kit.md"
PAGES = (HOWTO, RACE_KIT, DOCS / "testing-reference.md", DOCS / "mutation-testing.md")
SECONDS = 120.0

PYTEST = [sys.executable, "-m", "pytest", "-p", "_trio_supervisor_pytest"]
"""With the plugin by its name: an environment may have been made before there was one."""

QUICK = """\
from hypothesis import Phase, settings

settings.register_profile(
    "quick",
    phases=[Phase.generate, Phase.shrink],
    database=None,
    derandomize=True,
    stateful_step_count=10,
)
settings.load_profile("quick")
"""
"""Hypothesis takes fewer steps, and looks for no explanation, which would take longest of all."""


class Block(NamedTuple):
    """A program or a command of the page, and the output that stands below it."""

    language: str
    text: str
    expected: str

    @property
    def file(self) -> str:
        """The name that the first line of a program gives it."""
        return self.text.splitlines()[0].removeprefix("# ")

    @property
    def command(self) -> list[str]:
        """What the reader does with it; nothing where it says nothing of an output."""
        if self.language == "sh":
            program, *rest = self.text.split()
            assert program in ("pytest", "python")
            return [*(PYTEST if program == "pytest" else [sys.executable]), *rest]
        if not self.expected:
            return []
        if self.file.startswith("test_"):
            return [*PYTEST, "-q", self.file]
        return [sys.executable, "-W", "error", self.file]

    @property
    def fails(self) -> bool:
        """Whether it is meant to."""
        return any(word in self.expected for word in ("RaceFound: ", " failed"))


def blocks(page: Path) -> list[Block]:
    found = re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.M | re.S)
    followed = [*found[1:], ("", "")]
    return [
        Block(language, text, following if kind == "text" else "")
        for (language, text), (kind, following) in zip(found, followed, strict=True)
        if language != "text"
    ]


def check_output(block: Block, output: str) -> None:
    """Each expected line is there, in this order; `...` is anything, and blanks are any blanks."""
    lines = (" ".join(line.split()) for line in output.splitlines())
    for expected in block.expected.splitlines():
        parts = (" ".join(part.split()) for part in expected.split("..."))
        pattern = r" ?.* ?".join(map(re.escape, parts))
        assert any(re.fullmatch(pattern, line) for line in lines), (
            f"{block.text}\nshould print {expected!r}; it printed\n{output}"
        )


def follow(block: Block, home: Path) -> None:
    """Do what the page says."""
    if block.language == "python":
        (home / block.file).write_text(block.text)
    if not block.command:
        return
    environment = {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    draws = "hypothesis" in (home / block.command[-1]).read_text()
    (home / "conftest.py").write_text(QUICK if draws else "")  # not to import it in vain
    done = subprocess.run(
        block.command,
        cwd=home,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    assert bool(done.returncode) == block.fails, done.stdout
    check_output(block, done.stdout)


@pytest.mark.parametrize("page", [HOWTO, RACE_KIT], ids=lambda page: page.stem)
def test_every_block_does_what_the_page_says(page: Path, tmp_path: Path) -> None:
    for block in blocks(page):
        follow(block, tmp_path)


def test_the_pages_have_blocks_of_every_kind() -> None:
    assert len(blocks(RACE_KIT)) == 1
    found = blocks(HOWTO)
    assert {block.language for block in found} == {"python", "sh"}
    assert [block.fails for block in found].count(True) == 5
    assert sum(bool(block.expected) for block in found) >= 8


def test_what_is_not_printed_is_missed() -> None:
    block = Block("python", "", "a ... c\nlast")
    check_output(block, "first\n a  b c\nlast")
    for wrong in ("a b\nlast", "a b c", "last\na b c"):
        with pytest.raises(AssertionError):
            check_output(block, wrong)


def test_the_reference_is_that_of_the_code() -> None:
    """Mended by `python docs/draw_testing_reference.py`."""
    draw = [sys.executable, str(DOCS / "draw_testing_reference.py"), "--check"]
    done = subprocess.run(draw, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr


def test_the_numbers_are_those_of_the_planted_bugs() -> None:
    found = re.search(
        r"are (\d+) small modules.*: (\d+) with one preemption", RACE_KIT.read_text(), re.S
    )
    texts = [line.replay_text for line in replay_all.read()]
    ones = [text for text in texts if text.count("+") == 1]
    twos = [text for text in texts if text.count("+") == 2]
    assert found is not None
    assert [*map(int, found.groups())] == [len(texts), len(ones)]
    assert len(twos) == 2 == len(texts) - len(ones)


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"goes on for {PATIENCE} steps" in RACE_KIT.read_text()
    scenario = three_jobs(6)
    for bound in range(3):
        runs = explore(scenario, preemptions=bound).runs
        assert f"| up to {bound} | {runs:,} |" in RACE_KIT.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / target).exists(), target
    headings = {heading.lower() for heading in re.findall(r"^#+ (.+)$", text, re.M)}
    for anchor in re.findall(r"\]\(#([^)]+)\)", text):
        assert anchor in headings, anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_one_sentence_on_each_line(page: Path) -> None:
    prose = re.sub(r"^```.*?^```$|^[|][^\n]*$", "", page.read_text(), flags=re.M | re.S)
    for line in prose.splitlines():
        assert not re.search(r"[a-z][.!?] [A-Z]", line), line
