"""The public names of `supervisor.testing` are there, and cost nothing before they are used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor import testing

SOURCE = Path(testing.__file__ or "")


@pytest.mark.parametrize("name", testing.__all__)
def test_every_name_is_there(name: str) -> None:
    value = getattr(testing, name)
    assert getattr(value, "__name__", name) == name


def test_what_a_type_checker_sees_is_what_there_is() -> None:
    (guarded,) = (node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.If))
    seen = {
        alias.asname: node.module
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == testing._HOME


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"'supervisor\.testing' has no attribute 'exlpore'"):
        testing.exlpore  # noqa: B018
    assert "explore" in dir(testing)


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


def test_the_kit_works_without_hypothesis_and_pytest() -> None:
    code = """
import sys
for absent in ("hypothesis", "pytest", "_pytest"):
    sys.modules[absent] = None
from supervisor import testing
needing = []
for name in sorted(testing._HOME):
    try:
        getattr(testing, name)
    except ModuleNotFoundError as error:
        needing.append(name)
        assert "pip install 'trio-supervisor[testing]'" in str(error), error
from supervisor.testing import *
print(needing, {*needing} & {*dir(testing), *testing.__all__}, "explore" in testing.__all__)
"""
    assert run(code).strip() == "['JobMachine', 'histories', 'schedules'] set() True"


def test_nothing_is_imported_before_it_is_used() -> None:
    code = "import sys, supervisor.testing; print([n for n in sys.modules if 'testing._' in n])"
    assert run(code).strip() == "[]"
