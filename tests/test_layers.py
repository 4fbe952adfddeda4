"""Imports point down: the table of layers in docs/architecture.md holds."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "supervisor"
TABLE = ROOT / "docs" / "architecture.md"

BESIDE = -1
PURE_LAYERS = range(4)
IMPURE = {
    "asyncio", "glob", "io", "logging", "multiprocessing", "os", "pathlib", "random", "secrets",
    "select", "selectors", "shutil", "signal", "socket", "sqlite3", "subprocess", "tempfile",
    "threading", "time", "trio", "trio_websocket",
}  # fmt: skip

# Imports inside a function that may break the rules, each with its reason.
ALLOWED_LAZY = {
    ("_guard", "cli"),  # the command: once the check has passed, the command line proper
}

# (who, what) that may not know of each other although the layers would allow it.
STRANGERS = [
    ("_engine", "stores"),
    ("_engine", "launchers"),
    ("_supervisor", "stores"),
    ("_supervisor", "launchers"),
    ("stores", "launchers"),
    ("launchers", "stores"),
    ("_client", "_server"),
    ("cli", "testing"),
]


def belongs(module: str, to: str) -> bool:
    return module == to or module.startswith(f"{to}.")


# --- reading the package ------------------------------------------------------------------------


def modules() -> dict[str, Path]:
    """Every module, named from within the package: `_errors`, `stores` (its __init__), ..."""
    found = {}
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        found[".".join(parts)] = path
    return found


MODULES = modules()


def is_type_checking(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", None), getattr(test, "attr", None))


def import_nodes(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Imports that are really made, at whatever depth."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and is_type_checking(child.test):
            for other in child.orelse:
                yield from import_nodes(ast.Module([other], []))
        else:
            yield from import_nodes(child)


def base_of(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """The absolute name of what `from X import` names, seen from `module` (PEP 328)."""
    if not node.level:
        return node.module or ""
    parts = [PACKAGE] if module == "__init__" else [PACKAGE, *module.split(".")]
    parts = parts if is_package else parts[:-1]
    parts = parts[: len(parts) - node.level + 1]
    return ".".join([*parts, *filter(None, [node.module])])


def imported_names(source: str, module: str, is_package: bool) -> set[str]:
    """What a module imports, absolute; of ours, `from x import y` names y where y is a module."""
    names: set[str] = set()
    for node in import_nodes(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
            continue
        base = base_of(node, module, is_package)
        for alias in node.names:
            inner = f"{base}.{alias.name}".removeprefix(f"{PACKAGE}.")
            names.add(f"{PACKAGE}.{inner}" if belongs(base, PACKAGE) and inner in MODULES else base)
    return names


def imports_of(module: str) -> set[str]:
    path = MODULES[module]
    return imported_names(path.read_text(), module, path.name == "__init__.py")


def ours(names: set[str]) -> set[str]:
    """Those of our own modules, named as in `modules`."""
    inner = {n.removeprefix(PACKAGE).lstrip(".") for n in names if belongs(n, PACKAGE)}
    return {name or "__init__" for name in inner}


# --- reading the table --------------------------------------------------------------------------


def read_table() -> list[tuple[str, int]]:
    text = TABLE.read_text()
    body = re.search(r"<!-- layers.*?-->(.*)<!-- /layers -->", text, re.DOTALL)
    assert body, f"{TABLE} has lost the marks around its table of layers"
    rows = re.findall(r"^\| (\d|beside) \| (.*?) \|", body[1], re.MULTILINE)
    return [
        (name, BESIDE if layer == "beside" else int(layer))
        for layer, names in rows
        for name in re.findall(r"`([\w.*]+)`", names)
    ]


LAYERS = read_table()


def layer_of(module: str) -> int | None:
    for name, layer in LAYERS:
        if name == module or (name.endswith(".*") and belongs(module, name[:-2])):
            return layer
    return None


# --- the rules ----------------------------------------------------------------------------------


def test_table_is_read() -> None:
    assert layer_of("_errors") == 0
    assert layer_of("stores.memory") == layer_of("stores") == 5
    assert layer_of("__init__") == 9
    assert layer_of("_guard") == BESIDE
    assert layer_of("storeroom") is None
    assert len(LAYERS) == len({name for name, _ in LAYERS})


@pytest.mark.parametrize("name", [name for name, _ in LAYERS])
def test_every_name_in_the_table_is_there(name: str) -> None:
    assert [m for m in MODULES if belongs(m, name.removesuffix(".*"))]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_place(module: str) -> None:
    assert layer_of(module) is not None, (
        f"{PACKAGE}/{module.replace('.', '/')} is in no layer: "
        f"place it in the table of docs/architecture.md"
    )


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    layer = layer_of(module)
    wrong = [
        f"{module} (layer {layer}) imports {name} (layer {layer_of(name)})"
        for name in sorted(ours(imports_of(module)))
        if (module, name) not in ALLOWED_LAZY
        and layer is not None
        and (other := layer_of(name)) is not None
        and other > layer
    ]
    assert not wrong


def test_imports_form_no_ring() -> None:
    graph = {m: {n for n in ours(imports_of(m)) if (m, n) not in ALLOWED_LAZY} for m in MODULES}
    assert find_ring(graph) is None


@pytest.mark.parametrize("module", [m for m in MODULES if layer_of(m) in PURE_LAYERS])
def test_low_layers_are_pure(module: str) -> None:
    assert not {name.partition(".")[0] for name in imports_of(module)} & IMPURE


@pytest.mark.parametrize(("who", "what"), STRANGERS)
def test_some_do_not_know_each_other(who: str, what: str) -> None:
    for module in MODULES:
        if belongs(module, who):
            assert not [n for n in ours(imports_of(module)) if belongs(n, what)], module


@pytest.mark.parametrize("module", [m for m in MODULES if not belongs(m, "testing")])
def test_nobody_imports_testing(module: str) -> None:
    assert not [n for n in ours(imports_of(module)) if belongs(n, "testing")]


def test_guard_stands_alone() -> None:
    assert ours(imports_of("_guard")) == {"cli"}


# --- that the reading itself is right -----------------------------------------------------------


def find_ring(graph: dict[str, set[str]]) -> list[str] | None:
    """A ring of imports, or None."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str] | None:
        if module in path:
            return [*path[path.index(module) :], module]
        if module not in done:
            for name in sorted(graph.get(module, ())):
                if ring := visit(name, [*path, module]):
                    return ring
            done.add(module)
        return None

    return next((ring for module in sorted(graph) if (ring := visit(module, []))), None)


@pytest.mark.parametrize(
    ("source", "module", "found"),
    [
        ("import trio.lowlevel", "_model", {"trio.lowlevel"}),
        ("from . import _errors", "_model", {"supervisor._errors"}),
        ("from ._errors import Overloaded", "_model", {"supervisor._errors"}),
        ("from .._errors import Overloaded", "stores.memory", {"supervisor._errors"}),
        ("from ..abc import Store", "stores.memory", {"supervisor.abc"}),
        ("from .other import x", "stores.memory", {"supervisor.stores.other"}),
        ("from supervisor import _errors", "cli.serve", {"supervisor._errors"}),
        ("from supervisor import __version__", "cli.serve", {"supervisor"}),
        ("from . import __version__", "_model", {"supervisor"}),
        ("def f():\n    import os", "_model", {"os"}),
        ("class A:\n    try:\n        import os\n    except E:\n        pass", "_model", {"os"}),
        ("if TYPE_CHECKING:\n    import os\nelse:\n    import time", "_model", {"time"}),
        ("if typing.TYPE_CHECKING:\n    from . import _errors", "_model", set()),
        ("if x:\n    import os", "_model", {"os"}),
    ],
)
def test_imports_are_found(source: str, module: str, found: set[str]) -> None:
    assert imported_names(source, module, is_package=False) == found


def test_imports_of_a_package_are_relative_to_itself() -> None:
    assert imported_names("from .a import b", "stores", is_package=True) == {"supervisor.stores.a"}
    assert imported_names("from .abc import b", "__init__", is_package=True) == {"supervisor.abc"}
    assert ours({"supervisor", "supervisor.abc", "trio"}) == {"__init__", "abc"}


def test_rings_are_found() -> None:
    assert find_ring({"a": {"b", "c"}, "b": {"c"}, "c": set()}) is None
    assert find_ring({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
