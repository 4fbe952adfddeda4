"""Jobs by name: what may be started over the wire, and with which arguments.

The parameters of a registered function become a JSON Schema, and the arguments of a start are
checked against them before the job exists.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar, get_type_hints, overload

import attrs
import msgspec

from ._errors import InvalidArguments, UnknownJobName

__all__ = ["RegisteredJob", "Registry"]

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


@attrs.frozen(kw_only=True)
class RegisteredJob:
    """A function that can be started by name, with the defaults of its jobs."""

    name: str
    function: Callable[..., Awaitable[Any]]
    params: type[msgspec.Struct]
    doc: str
    grace: float | None = None
    notice: float | None = None
    timeout: float | None = None

    def bind(self, args: Mapping[str, Any] | None) -> Callable[[], Awaitable[Any]]:
        """The function with its arguments, checked and converted.

        Raises:
            InvalidArguments: an argument is missing, unknown, or of the wrong type.
        """
        given = {} if args is None else args
        if not isinstance(given, Mapping):
            raise InvalidArguments(
                f"args of job {self.name!r} must be names and values, "
                f"not {type(given).__name__}; {self._takes()}",
                path="$.args",
            )
        try:
            checked = msgspec.convert(dict(given), self.params)
        except (msgspec.ValidationError, TypeError, RecursionError) as exc:
            path = _path_in(str(exc))
            raise InvalidArguments(
                f"wrong arguments for job {self.name!r}: {exc}; {self._takes()}", path=path
            ) from exc
        names = self.params.__struct_fields__
        return functools.partial(self.function, **{name: getattr(checked, name) for name in names})

    def _takes(self) -> str:
        names = ", ".join(self.params.__struct_fields__)
        return f"it takes {names}" if names else "it takes no arguments"

    def schema(self) -> dict[str, Any]:
        """The JSON Schema (2020-12) of its arguments."""
        return msgspec.json.schema(self.params)


def _path_in(message: str) -> str:
    """The place of the fault, which msgspec puts at the end of its message."""
    _, found, rest = message.rpartition("at `$")
    return "$.args" + rest.rstrip("`") if found else "$.args"


class Registry:
    """The jobs that can be started by name.

    >>> registry = Registry()
    >>> @registry.job
    ... async def greet(name: str, times: int = 1) -> str: ...
    """

    def __init__(self) -> None:
        self._jobs: dict[str, RegisteredJob] = {}

    def __repr__(self) -> str:
        return f"<Registry of {', '.join(sorted(self._jobs)) or 'nothing'}>"

    def __iter__(self) -> Any:
        return iter(self._jobs.values())

    @overload
    def job(self, function: F, /) -> F: ...

    @overload
    def job(
        self,
        /,
        *,
        name: str | None = None,
        grace: float | None = None,
        notice: float | None = None,
        timeout: float | None = None,
    ) -> Callable[[F], F]: ...

    def job(
        self,
        function: F | None = None,
        /,
        *,
        name: str | None = None,
        grace: float | None = None,
        notice: float | None = None,
        timeout: float | None = None,
    ) -> F | Callable[[F], F]:
        """Register an async function, as `@registry.job` or `@registry.job(name=..., ...)`.

        Args:
            function: the function; every parameter has a name and should have a type.
            name: what to start it by; its own name by default.
            grace: default of its jobs, in seconds.
            notice: default of its jobs, in seconds.
            timeout: default of its jobs, in seconds.

        Raises:
            TypeError: the function is not async, or a parameter cannot be given by name or
                described by a JSON Schema.
            ValueError: the name is taken.
        """

        def register(function: F) -> F:
            known = name if name is not None else function.__name__
            if known in self._jobs:
                raise ValueError(f"a job named {known!r} is registered already")
            self._jobs[known] = RegisteredJob(
                name=known,
                function=function,
                params=_params_of(function, known),
                doc=inspect.getdoc(function) or "",
                grace=grace,
                notice=notice,
                timeout=timeout,
            )
            return function

        return register if function is None else register(function)

    def get(self, name: str) -> RegisteredJob:
        """The job registered by this name.

        Raises:
            UnknownJobName: there is none; the error lists those there are.
        """
        try:
            return self._jobs[name]
        except KeyError:
            known = sorted(self._jobs)
            listed = ", ".join(known) if known else "none is"
            raise UnknownJobName(
                f"no job named {name!r} is registered; registered: {listed}", known=known
            ) from None

    def describe(self) -> list[dict[str, Any]]:
        """Name, description and JSON Schema of every job, by name."""
        return [
            {"name": job.name, "doc": job.doc, "schema": job.schema()}
            for _, job in sorted(self._jobs.items())
        ]


def _params_of(function: Callable[..., Any], name: str) -> type[msgspec.Struct]:
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"job {name!r} must be an async function (async def)")
    hints = get_type_hints(function, include_extras=True)
    fields = [
        _field_of(parameter, hints, name)
        for parameter in inspect.signature(function).parameters.values()
    ]
    params = msgspec.defstruct(
        f"{name}_params", fields, kw_only=True, forbid_unknown_fields=True, frozen=True
    )
    try:
        msgspec.json.schema(params)
    except TypeError as exc:
        raise TypeError(
            f"job {name!r} has a parameter that JSON cannot carry: {exc}; "
            "use str, int, float, bool, None, list, dict, datetime, enums, attrs or dataclasses"
        ) from exc
    return params


def _field_of(
    parameter: inspect.Parameter, hints: Mapping[str, Any], name: str
) -> tuple[str, Any] | tuple[str, Any, Any]:
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        raise TypeError(
            f"job {name!r}: parameter {parameter} cannot be given by name; "
            "registered jobs take named parameters only"
        )
    hint = hints.get(parameter.name, Any)
    if parameter.default is parameter.empty:
        return parameter.name, hint
    default = parameter.default
    if isinstance(default, (list, dict, set)) and default:
        copy = default.copy
        return parameter.name, hint, msgspec.field(default_factory=copy)
    return parameter.name, hint, default
