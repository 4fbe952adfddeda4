"""The tutorial is run as a reader would: from top to bottom, in one directory, in one shell."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
TUTORIAL = ROOT / "docs" / "tutorial.md"
ADDRESS = "127.0.0.1:8765"
"""As the page has it; here it becomes a port that is free."""

PATIENCE = 120.0


class Block(NamedTuple):
    """A block of the page, and the output that stands below it."""

    language: str
    text: str
    expected: str

    @property
    def file(self) -> str:
        """The name that the first line of a program gives it."""
        return self.text.splitlines()[0].removeprefix("# ")

    @property
    def is_module(self) -> bool:
        return "trio.run(" not in self.text


def blocks() -> list[Block]:
    found = re.findall(r"^```(\w+)\n(.*?)^```$", TUTORIAL.read_text(), re.M | re.S)
    return [
        Block(language, text, found[place + 1][1] if found[place + 1 :][:1] and
              found[place + 1][0] == "text" else "")
        for place, (language, text) in enumerate(found)
        if language != "text"
    ]  # fmt: skip


def check_output(block: Block, output: str) -> None:
    """Each expected line is there, in this order; `...` is anything."""
    lines = iter(output.splitlines())
    for expected in block.expected.splitlines():
        pattern = ".*".join(re.escape(part.strip()) for part in expected.split("..."))
        assert any(re.fullmatch(rf"\s*{pattern}\s*", line) for line in lines), (
            f"{block.text}\nshould print {expected!r}; it printed\n{output}"
        )


class Reader:
    """Somebody who does what the page says."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        bin = home / "bin"
        bin.mkdir()
        command = bin / "trio-supervisor"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m supervisor "$@"\n')
        command.chmod(0o755)
        runtime = home / "run"
        runtime.mkdir(mode=0o700)
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("TRIO_SUPERVISOR_")
        } | {
            "PATH": f"{bin}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "XDG_RUNTIME_DIR": str(runtime),
        }
        self.server: subprocess.Popen[str] | None = None

    def follow(self, block: Block) -> None:
        text = block.text.replace(ADDRESS, self.address)
        block = block._replace(expected=block.expected.replace(ADDRESS, self.address))
        if block.language == "python":
            (self.home / block.file).write_text(text)
            if not block.is_module:
                done = self.run([sys.executable, "-W", "error", block.file])
                assert done.stderr == ""
                check_output(block, done.stdout)
        elif "trio-supervisor serve" in text:
            self.serve(text, block)
        else:
            check_output(block, self.run(["sh", "-e", "-c", text]).stdout)

    def run(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            argv,
            cwd=self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
        return done

    def serve(self, text: str, block: Block) -> None:
        self.server = subprocess.Popen(
            ["sh", "-c", f"exec {text}"],
            cwd=self.home,
            env=self.environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.server.stderr is not None
        check_output(block, self.server.stderr.readline())


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    if reader.server is not None:
        reader.server.send_signal(signal.SIGTERM)
        assert reader.server.stderr is not None
        reader.server.stderr.close()
        reader.server.wait(PATIENCE)


def test_every_block_of_the_tutorial_does_what_the_page_says(reader: Reader) -> None:
    for block in blocks():
        reader.follow(block)
    assert reader.server is not None
    assert reader.server.wait(PATIENCE) == 0  # the page ends with its shutdown


def test_the_tutorial_has_blocks_of_every_kind() -> None:
    found = blocks()
    assert {block.language for block in found} == {"python", "sh"}
    assert [block.is_module for block in found if block.language == "python"].count(True) == 1
    assert sum(bool(block.expected) for block in found) >= 7


def test_what_is_not_printed_is_missed() -> None:
    block = Block("python", "", "a ... c\nlast")
    check_output(block, "first\na b c\nlast")
    for wrong in ("a b\nlast", "a b c", "last\na b c"):
        with pytest.raises(AssertionError):
            check_output(block, wrong)


def test_its_links_lead_somewhere() -> None:
    for page in (TUTORIAL, ROOT / "docs" / "index.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_one_sentence_on_each_line() -> None:
    prose = re.sub(r"^```.*?^```$", "", TUTORIAL.read_text(), flags=re.M | re.S)
    for line in prose.splitlines():
        assert not re.search(r"[a-z][.!?] [A-Z]", line), line
