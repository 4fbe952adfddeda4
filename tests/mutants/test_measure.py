"""The parts of the mutation testing that need no mutants; the whole of it is `.ci/mutants`."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import pytest
from lift import lift
from measure import PARTS, TABLE, TREE, Mutant, Score, as_entry, compare, explained, table

ONE = Mutant("_policy.f", "return 1", "return 2")
OTHER = Mutant("_policy.g", 'say("a")', 'say("XXaXX")')


def score(*survivors: Mutant) -> Score:
    return Score("_policy", 10, 1, survivors)


# --- the explanations -------------------------------------------------------------------------


def test_an_explained_survivor_is_all_right() -> None:
    assert compare([score(ONE)], {ONE: "the same"}) == []


def test_a_survivor_without_an_explanation_is_not() -> None:
    (problem,) = compare([score(ONE, OTHER)], {ONE: "the same"})
    assert problem == "not explained:\n\n" + as_entry(OTHER)


def test_an_explanation_without_its_survivor_is_stale() -> None:
    (problem,) = compare([score(ONE)], {ONE: "the same", OTHER: "the same"})
    assert problem == "stale, no such mutant survives:\n\n" + as_entry(OTHER)


def test_explanations_of_what_was_not_measured_are_left_alone() -> None:
    elsewhere = Mutant("_engine.f", "", "")
    cell = Mutant(f"{TABLE}[running][Ended]", "_end", "")
    assert compare([score()], {elsewhere: "the same", cell: "the same"}) == []
    assert len(compare([Score(TABLE, 1, 0, ())], {cell: "the same"})) == 1


def test_an_entry_can_be_pasted_into_the_file(tmp_path: Path) -> None:
    path = tmp_path / "explained.toml"
    path.write_text(as_entry(ONE) + as_entry(OTHER))
    assert explained(path) == {ONE: "", OTHER: ""}


def source_of(where: str) -> str:
    """The lines of a function of the core."""
    module, *path = where.split(".")
    text = (TREE / "supervisor" / f"{module}.py").read_text()
    node: ast.AST = ast.parse(text)
    for name in path:
        # Of overloads the last one is the function itself.
        *_, node = [
            each for each in ast.iter_child_nodes(node) if getattr(each, "name", "") == name
        ]
    source = ast.get_source_segment(text, node)
    assert source is not None
    return source


@pytest.mark.parametrize("mutant", explained(), ids=lambda mutant: mutant.where)
def test_what_is_explained_is_there(mutant: Mutant) -> None:
    assert explained()[mutant].endswith(".")
    assert mutant.part in PARTS
    if mutant.part != TABLE:
        assert "".join(mutant.was.split()) in "".join(source_of(mutant.where).split())


# --- the table of scores --------------------------------------------------------------------------


def test_the_table_counts_and_adds_up() -> None:
    lines = list(table([score(ONE, OTHER), Score("_engine", 30, 0, ())], {ONE: "the same"}))
    assert [line.split() for line in lines[1:]] == [
        ["_policy", "10", "8", "1", "2", "1", "80.0%"],
        ["_engine", "30", "30", "0", "0", "0", "100.0%"],
        ["together", "40", "38", "1", "2", "1", "95.0%"],
    ]
    assert len({len(line) for line in lines}) == 1


# --- decorators ---------------------------------------------------------------------------------


def test_a_decorator_is_moved_below_its_class() -> None:
    source = """
    class C:
        @property
        def one(self):
            return 1

        @staticmethod
        def two():
            return 2

        def three(self):
            return 3


    after = C().one
    """
    lifted = lift(textwrap.dedent(source))
    assert "    @staticmethod\n" in lifted
    assert "@property" not in lifted
    namespace: dict[str, object] = {}
    exec(lifted, namespace)
    assert namespace["after"] == 1


def test_a_decorator_of_a_function_in_a_method_is_moved_below_the_function() -> None:
    source = """
    class C:
        def f(self):
            @property
            def inner(self):
                return 1

            return inner
    """
    lifted = lift(textwrap.dedent(source))
    assert "@property" not in lifted
    assert "        inner = property(inner)  # pragma: no mutate\n" in lifted
    namespace: dict[str, object] = {}
    exec(f"{lifted}\nresult = type(C().f())", namespace)
    assert namespace["result"] is property


def test_two_decorators_are_too_many() -> None:
    with pytest.raises(ValueError, match=r"f has more decorators than one: property, cache"):
        lift("class C:\n    @property\n    @cache\n    def f(self): ...\n")


@pytest.mark.parametrize("module", [part for part in PARTS if part != TABLE])
def test_no_function_of_the_core_is_left_out(module: str) -> None:
    source = (TREE / "supervisor" / f"{module}.py").read_text()
    decorators = {
        ast.unparse(decorator)
        for node in ast.walk(ast.parse(lift(source)))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for decorator in node.decorator_list
    }
    assert decorators <= {"overload"}
