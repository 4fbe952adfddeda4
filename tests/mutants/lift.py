"""Takes decorators out of the way of mutmut, which leaves decorated functions alone.

Of the engine that would be the greater part: whatever must not be torn by Ctrl+C has a decorator.
A method loses its decorator and gets it back below its class, so it is what it was:

    @enable_ki_protection
    def stop(self): ...

becomes a plain `stop`, and `Engine.stop = enable_ki_protection(Engine.stop)` after the class.
What is written below a class mutmut does not mutate.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

Function = ast.FunctionDef | ast.AsyncFunctionDef

LIFTED = frozenset({"asynccontextmanager", "enable_ki_protection", "property"})


def lift(source: str) -> str:
    """The same module, with the decorators in LIFTED applied by statements.

    Raises:
        ValueError: a decorator stands among others, or where it cannot be moved.
    """
    lines = source.splitlines()
    # From the last line to the first, so that the numbers of those before stay true.
    for line, number_removed, added in sorted(_edits(ast.parse(source)), reverse=True):
        lines[line : line + number_removed] = added
    return "\n".join(lines) + "\n"


def _edits(tree: ast.Module) -> Iterator[tuple[int, int, list[str]]]:
    """Where, how many lines to remove there, and what to put in their place."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            methods = [(each, _lifted(each)) for each in node.body if isinstance(each, Function)]
            for method, decorator in methods:
                if decorator is not None:
                    yield method.decorator_list[0].lineno - 1, 1, []
            again = [
                f"{node.name}.{method.name} = {decorator}({node.name}.{method.name})"
                for method, decorator in methods
                if decorator is not None
            ]
            yield _end(node), 0, again
        elif isinstance(node, Function):
            for inner in node.body:
                decorator = _lifted(inner) if isinstance(inner, Function) else None
                if isinstance(inner, Function) and decorator is not None:
                    yield inner.decorator_list[0].lineno - 1, 1, []
                    again = f"{inner.name} = {decorator}({inner.name})  # pragma: no mutate"
                    yield _end(inner), 0, [" " * inner.col_offset + again]


def _end(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno


def _lifted(function: Function) -> str | None:
    """The decorator that is to be moved, if there is one."""
    names = [ast.unparse(each) for each in function.decorator_list]
    if not LIFTED.intersection(names):
        return None
    if len(names) > 1:
        raise ValueError(f"{function.name} has more decorators than one: {', '.join(names)}")
    return names[0]
