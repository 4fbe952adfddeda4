"""What an exception at a point of some function makes it skip: read from its source."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from types import CodeType
from typing import Any

import attrs

__all__ = ["Point", "skipped_after"]

_DOES_NOTHING = (ast.Pass, ast.Raise, ast.Return, ast.Break, ast.Continue)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_TRIES = (ast.Try, ast.TryStar)
_CATCH_ALL = {"BaseException", "Cancelled"}

_Step = tuple[ast.AST, str, int]
"""A node, the name of one of its blocks, and the place of a statement in that."""


@attrs.frozen
class Point:
    """A point in a function that has been started: its code and the offset of an instruction."""

    code: CodeType
    offset: int

    def position(self) -> tuple[int, int]:
        """(line, column) of the instruction; column -1 if it is not known (-X no_debug_ranges)."""
        found = next(islice(self.code.co_positions(), self.offset // 2, None))
        line, column = found[0], found[2]
        return line or self.code.co_firstlineno, -1 if column is None else column


def skipped_after(point: Point, *, handling: bool) -> int | None:
    """The line of the first statement of a cleanup that an exception at `point` skips.

    What runs all the same is not skipped: `finally` blocks, and whatever comes after somebody
    caught the exception.

    Args:
        point: where the exception is raised.
        handling: whether the cleanup is the `except` or `finally` block around the point; else it
            is the whole function.

    Returns:
        Its line, or None if nothing is skipped, or the source is not there.
    """
    line, column = point.position()
    path = _path_to(point.code.co_filename, line, column)
    if handling and not any(_is_cleanup(node, block) for node, block, _ in path):
        return None  # the exit of a `with`: the exception that is on its way goes on
    for node, block, place in reversed(path):
        if isinstance(node, _FUNCTIONS):
            return _first_that_does(node, block, place)
        if handling and _is_cleanup(node, block):
            return _first_that_does(node, block, place)
        if isinstance(node, _TRIES) and block == "body" and any(map(_catches, node.handlers)):
            return None
        if isinstance(node, ast.With | ast.AsyncWith) and any(map(_suppresses, node.items)):
            return None
        if (skipped := _first_that_does(node, block, place)) is not None:
            return skipped
        if isinstance(node, _LOOPS) and block == "body":
            return node.lineno
        if isinstance(node, _TRIES) and block == "body" and node.orelse:
            return node.orelse[0].lineno
    return None


def _path_to(file: str, line: int, column: int) -> list[_Step]:
    """The blocks around a point, outermost first."""
    path: list[_Step] = []
    node: ast.AST | None = _parsed(file)
    while node is not None:
        node = _step_into(node, (line, column), path)
    return path


def _step_into(node: ast.AST, at: tuple[int, int], path: list[_Step]) -> ast.AST | None:
    for block, statements in _blocks(node):
        for place, inner in enumerate(statements):
            begin, end = _extent(inner)
            if begin <= at < end or (at[1] < 0 and begin[0] <= at[0] <= end[0]):
                path.append((node, block, place))
                return inner
    return None


def _extent(node: ast.AST) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where it begins, and where it has ended."""
    first: Any = node.pattern if isinstance(node, ast.match_case) else node
    last: Any = node.body[-1] if isinstance(node, ast.match_case) else node
    return (first.lineno, first.col_offset), (last.end_lineno, last.end_col_offset)


def _blocks(node: ast.AST) -> Iterator[tuple[str, list[ast.AST]]]:
    for name in ("body", "handlers", "orelse", "finalbody", "cases"):
        block = getattr(node, name, None)
        if isinstance(block, list):
            yield name, block


@lru_cache(maxsize=64)
def _parsed(file: str) -> ast.Module | None:
    try:
        return ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return None


def _is_cleanup(node: ast.AST, block: str) -> bool:
    return block == "finalbody" or isinstance(node, ast.ExceptHandler)


def _first_that_does(node: ast.AST, block: str, place: int) -> int | None:
    """The line of the first statement after this one that is more than an ending."""
    if block in ("handlers", "cases"):
        return None  # the others are alternatives
    for statement in getattr(node, block)[place + 1 :]:
        if isinstance(statement, _DOES_NOTHING):
            continue
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        return int(statement.lineno)
    return None


def _catches(handler: ast.ExceptHandler) -> bool:
    """Whether it is written to catch a `Cancelled`."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or _last_name(kind) in _CATCH_ALL for kind in kinds)


def _suppresses(item: ast.withitem) -> bool:
    call = item.context_expr
    if not isinstance(call, ast.Call) or _last_name(call.func) != "suppress":
        return False
    return any(_last_name(argument) in _CATCH_ALL for argument in call.args)


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
