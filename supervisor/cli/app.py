"""`--app MODULE:ATTR`: from the name of a registry to the registry."""

from __future__ import annotations

import importlib
import sys
import traceback
from contextlib import redirect_stdout
from functools import reduce
from types import ModuleType
from typing import Any

from .._registry import Registry
from .exits import usage_error
from .text import one_line

__all__ = ["load_app"]


def load_app(name: str) -> Registry:
    """The registry by this name, its module imported from here or from where Python looks.

    Raises:
        CliError: it does not import, or is no registry.
    """
    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        raise usage_error(f"--app {name!r}: write it as MODULE:ATTRIBUTE, such as jobs:registry")
    module = _imported(module_name)
    try:
        found: Any = reduce(getattr, path.split("."), module)
    except AttributeError:
        raise usage_error(
            f"--app {name!r}: module {module_name} has no {path!r}; {_registries(module)}"
        ) from None
    if not isinstance(found, Registry):
        raise usage_error(
            f"--app {name!r}: {path} is of type {type(found).__name__}, not a "
            f"supervisor.Registry; {_registries(module)}"
        )
    return found


def _imported(name: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")  # as `python -m` has it: the working directory
    try:
        # What a module prints while it is imported is talk: stdout is for our data.
        with redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and (name == exc.name or name.startswith(f"{exc.name}.")):
            raise usage_error(
                f"--app: there is no module {name!r}, neither here nor where Python looks "
                "(PYTHONPATH, site-packages); run this where it is, or install it"
            ) from None
        raise _broken(name, exc) from exc
    except (Exception, SystemExit) as exc:  # a module may call sys.exit()
        raise _broken(name, exc) from exc


def _broken(name: str, exc: BaseException) -> Exception:
    frames = [
        frame
        for frame in traceback.extract_tb(exc.__traceback__)
        if not frame.filename.startswith("<frozen") and frame.filename != __file__
    ]
    if isinstance(exc, SyntaxError) and exc.filename is not None:
        where = f" ({exc.filename}, line {exc.lineno})"
    else:
        frames = [frame for frame in frames if "importlib" not in frame.filename]
        where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return usage_error(
        f"--app: importing {name!r} failed: {type(exc).__name__}: {one_line(str(exc))}{where}"
    )


def _registries(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, Registry)]
    if names:
        return f"registries there: {', '.join(f'{module.__name__}:{name}' for name in names)}"
    return "it has no registry; make one with `registry = supervisor.Registry()`"
