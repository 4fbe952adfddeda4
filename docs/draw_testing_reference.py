"""Draws docs/testing-reference.md from the signatures and docstrings of `supervisor.testing`.

python docs/draw_testing_reference.py          write the page
python docs/draw_testing_reference.py --check  exit 1 if the page is another
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

import attrs

import _trio_supervisor_pytest as plugin
import supervisor.testing
from supervisor.testing import commands, errors

PAGE = Path(__file__).with_name("testing-reference.md")

INTRODUCTION = """\
# Reference of the race kit

<!-- drawn by docs/draw_testing_reference.py from the code; do not edit -->

Everything public in `supervisor.testing`.
[howto/find-races.md](howto/find-races.md) shows how to use it, \
[race-kit.md](race-kit.md) how it works and what it cannot see.

A *scenario* is an async function that makes everything anew that it changes.
Times are in seconds, of the scenario's own clock unless a description says otherwise.
"""

GROUPS = {
    "Schedules": (
        "Find the order of tasks that breaks a scenario, and run it again.",
        ("explore", "replay", "schedules", "Schedule", "Explored", "RaceFound"),
    ),
    "Orders of named points": (
        "What works on any Trio, for code that marks the moments that matter.",
        ("explore_points", "point", "BadOrder"),
    ),
    "Cancelled everywhere": (
        "Find the line at which a cancellation leaves something behind, or broken.",
        (
            "cancel_everywhere",
            "CancelledEverywhere",
            "CancelledAt",
            "CancellationUnsafe",
            "NothingToCancel",
            "TooManyCheckpoints",
        ),
    ),
    "Histories of jobs": (
        "What happens to a few jobs under a real supervisor, and everything that must hold.",
        ("check_history", "histories", "JobMachine", "History", "Played", "HistoryBroken"),
    ),
    "Answers that fit an order": (
        "Whether what an object answered could have been answered one at a time.",
        (
            "check_linearizable",
            "Model",
            "Operation",
            "UNANSWERED",
            "NotLinearizable",
            "SearchTooLong",
        ),
    ),
    "Conformance": (
        "For those who write a store or a launcher.",
        ("check_store", "check_launcher", "LauncherWorks", "ConformanceReport", "NotConforming"),
    ),
    "A job by itself": (
        "Run a job function without a supervisor.",
        ("stub_job", "StubJob", "StubControl", "Succeeds", "Fails", "Hangs", "NotScripted"),
    ),
}
"""The sections of the page: what each is for, and its names in their order."""

NEEDS_HYPOTHESIS = ("JobMachine", "histories", "schedules")

NOT_MADE = {
    "CancelledAt",
    "CancelledEverywhere",
    "ConformanceReport",
    "Explored",
    "JobMachine",
    "Played",
    "StubControl",
    "StubJob",
}
"""Classes whose objects one is given; how they are made concerns nobody."""

INNER = {"StubJob": {"on_started", "on_log", "on_progress"}}
"""Methods for other parts of the package."""


def drawn() -> str:
    """The page."""
    check_groups()
    parts = [INTRODUCTION, overview()]
    for title, (purpose, names) in GROUPS.items():
        parts += [f"## {title}", purpose]
        parts += [part for name in names for part in entry(name)]
    parts += ["## The pytest plugin", *plugin_parts()]
    parts += ["## `supervisor.testing.commands`", *commands_parts()]
    parts += ["## `supervisor.testing.errors`", *errors_parts()]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def check_groups() -> None:
    """Every public name has its place, and only they have."""
    placed = [name for _, names in GROUPS.values() for name in names]
    public = set(supervisor.testing.__all__)
    missing, gone = sorted(public.difference(placed)), sorted(set(placed) - public)
    if missing or gone or len(placed) != len(public):
        raise SystemExit(
            f"GROUPS of {__file__} lacks {missing}, and has {gone} too much; every name of "
            "supervisor.testing belongs to one group"
        )


def overview() -> str:
    rows = [
        (link(name), purpose_of(getattr(supervisor.testing, name), name))
        for _, names in GROUPS.values()
        for name in names
    ]
    return table(("name", ""), rows)


# --- one name ------------------------------------------------------------------------------------


def entry(name: str) -> Iterator[str]:
    thing = getattr(supervisor.testing, name)
    yield f"### {name}"
    if name not in NOT_MADE and (shown := signature(name, thing)):
        yield shown
    yield from doc_parts(doc_of(thing) or doc_of_constant(name, thing))
    if name in NEEDS_HYPOTHESIS:
        yield "Needs Hypothesis: `pip install 'trio-supervisor[testing]'`."
    if inspect.isclass(thing):
        for method, function in methods(thing):
            yield f"#### {name}.{method}"
            if shown := signature(method, function):
                yield shown
            yield from doc_parts(doc_of(function))


def methods(cls: type) -> Iterator[tuple[str, Any]]:
    """The public ones that it says something of, in their order."""
    for name, member in vars(cls).items():
        if name.startswith("_") or isinstance(member, type) or not doc_of(member):
            continue
        if name in INNER.get(cls.__name__, ()):
            continue
        if inspect.isfunction(member) or isinstance(member, property):
            yield name, member


def signature(name: str, thing: Any) -> str:
    """As one would write its definition; nothing for what nobody calls."""
    if inspect.isclass(thing) and (issubclass(thing, BaseException) or is_protocol(thing)):
        return ""
    if not callable(thing):
        return ""
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return ""
    parameters = [each for each in found.parameters.values() if each.name != "self"]
    if inspect.isclass(thing) and not parameters:
        return ""
    result = "" if inspect.isclass(thing) else f" -> {annotation(found.return_annotation)}"
    prefix = "await " if inspect.iscoroutinefunction(thing) else ""
    if inspect.isasyncgenfunction(getattr(thing, "__wrapped__", None)):  # a context manager
        prefix, result = "async with ", ""
    written = [*written_parameters(parameters)]
    line = f"{prefix}{name}({', '.join(written)}){result}"
    if len(line) > 90:
        listed = "".join(f"    {each},\n" for each in written)
        line = f"{prefix}{name}(\n{listed}){result}"
    return f"```python\n{line}\n```"


def is_protocol(cls: type) -> bool:
    return getattr(cls, "_is_protocol", False)


def written_parameters(parameters: Sequence[inspect.Parameter]) -> Iterator[str]:
    kinds = inspect.Parameter
    last = None
    for each in parameters:
        if last is kinds.POSITIONAL_ONLY and each.kind is not last:
            yield "/"
        if each.kind is kinds.KEYWORD_ONLY and last not in (
            kinds.KEYWORD_ONLY,
            kinds.VAR_POSITIONAL,
        ):
            yield "*"
        stars = {kinds.VAR_POSITIONAL: "*", kinds.VAR_KEYWORD: "**"}.get(each.kind, "")
        default = "" if each.default is each.empty else f" = {value(each.default)}"
        yield f"{stars}{each.name}: {annotation(each.annotation)}{default}"
        last = each.kind


def annotation(given: Any) -> str:
    if given is inspect.Parameter.empty:
        return "Any"
    text = given if isinstance(given, str) else inspect.formatannotation(given)
    return ALIASES.get(text, text).replace("st.SearchStrategy", "SearchStrategy")


ALIASES = {
    "Deviations": "tuple[tuple[int, int], ...]",
    "Scenario": "Callable[..., Awaitable[Any]]",
    "Over": 'Literal["process", "name", "wire", "faulty"]',
}
"""What annotations mean that have names of their own inside."""


def value(default: Any) -> str:
    if default is attrs.NOTHING:
        return "..."
    shown = repr(default)
    return shown.replace("'", '"') if '"' not in shown else shown


# --- docstrings ----------------------------------------------------------------------------------

SECTIONS = ("Args", "Attributes", "Returns", "Raises")


class Doc(NamedTuple):
    """A docstring, taken apart."""

    text: str
    sections: Mapping[str, str]


def doc_of(thing: Any) -> str:
    """Its own; that of a class from which it is derived says something else."""
    own = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
    return inspect.cleandoc(own or "")


def doc_of_constant(name: str, thing: Any) -> str:
    """The text below its assignment, where there is no other way to find it."""
    statements = ast.parse(inspect.getsource(sys.modules[type(thing).__module__])).body
    for statement, below in pairwise(statements):
        target = getattr(statement, "target", None)
        if isinstance(target, ast.Name) and target.id == name and isinstance(below, ast.Expr):
            return str(ast.literal_eval(below.value))
    raise SystemExit(f"nothing is said of {name}")


def parsed(doc: str) -> Doc:
    head = re.split(rf"^(?={'|'.join(f'{name}:$' for name in SECTIONS)})", doc, flags=re.M)
    sections = {}
    for part in head[1:]:
        title, _, body = part.partition("\n")
        sections[title.rstrip(":")] = dedent(body).strip("\n")
    return Doc(head[0].strip("\n"), sections)


def doc_parts(doc: str) -> Iterator[str]:
    text, sections = parsed(doc)
    yield from paragraphs(text)
    for title, head in (("Args", "argument"), ("Attributes", "attribute")):
        if title in sections:
            rows = [(f"`{name}`", said) for name, said in items(sections[title])]
            yield table((head, "meaning"), rows)
    if "Returns" in sections:
        yield f"Returns: {lower(flowed(sections['Returns']))}"
    if "Raises" in sections:
        rows = [(f"`{name}`", said) for name, said in items(sections["Raises"])]
        yield table(("raises", "when"), rows)


def lower(text: str) -> str:
    """A sentence that goes on after a colon, unless it begins with a name."""
    return text if text[:2].isupper() else text[:1].lower() + text[1:]


def paragraphs(text: str) -> Iterator[str]:
    """One sentence on each line; what is indented is code."""
    for part in re.split(r"\n\n(?! )", text):
        prose, *code = re.split(r"\n\n(?= )", part)
        if prose.startswith("  "):
            prose, code = "", [prose, *code]
        if prose:
            yield flowed(prose)
        if code:
            listing = dedent("\n\n".join(code))
            yield f"```python\n{listing}\n```"


def items(body: str) -> Iterator[tuple[str, str]]:
    """The entries of a section: a name, a colon, and what continues is indented."""
    for entry in re.split(r"\n(?=\S)", body):
        name, _, said = entry.partition(":")
        yield name, " ".join(said.split()).replace("|", r"\|")


def flowed(text: str) -> str:
    """One sentence on each line."""
    return re.sub(r"(?<=[a-z)`\"][.!?]) (?=[A-Z`])", "\n", " ".join(text.split()))


def purpose_of(thing: Any, name: str = "") -> str:
    """The first sentence."""
    doc = doc_of(thing) or doc_of_constant(name, thing)
    first = flowed(parsed(doc).text.partition("\n\n")[0]).partition("\n")[0]
    return first.replace("|", r"\|")


# --- the pytest plugin ---------------------------------------------------------------------------


class Asked:
    """Stands for pytest, and keeps what the plugin tells it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.options: dict[str, str] = {}

    def addinivalue_line(self, name: str, line: str) -> None:
        self.lines.append(line)

    def getgroup(self, name: str, description: str = "") -> Asked:
        return self

    def addoption(self, name: str, *, metavar: str, help: str, **_: Any) -> None:
        self.options[f"{name} {metavar}"] = help


def plugin_parts() -> Iterator[str]:
    asked = Asked()
    plugin.pytest_configure(asked)  # type: ignore[arg-type]
    plugin.pytest_addoption(asked)  # type: ignore[arg-type]
    yield (
        "It comes with the package, works with and without pytest-trio, and does nothing unless "
        "a test asks for it."
    )
    for line in asked.lines:
        mark, _, said = line.partition(": ")
        yield f"### @pytest.mark.{mark.partition('(')[0]}"
        yield f"```python\n@pytest.mark.{mark}\n```"
        yield flowed(said[:1].upper() + said[1:])
    for name, said in asked.options.items():
        yield f"### {name.partition(' ')[0]}"
        yield f"```sh\npytest path::test {name}\n```"
        yield f"{said[:1].upper()}{said[1:]}."
    yield "### no_orphans"
    yield from doc_parts(doc_of(plugin.no_orphans))


# --- words and errors ----------------------------------------------------------------------------


def commands_parts() -> Iterator[str]:
    *_, first = [*paragraphs(doc_of(commands))][:1]
    yield first
    things = [(name, getattr(commands, name)) for name in commands.__all__]
    classes = [(name, thing) for name, thing in things if inspect.isclass(thing)]
    yield table(
        ("name", ""),
        [(link(name), purpose_of(thing)) for name, thing in classes if not shown_above(name)],
    )
    for name, thing in classes:
        if not shown_above(name):
            yield f"### {name}"
            if shown := signature(name, thing):
                yield shown
            yield from doc_parts(doc_of(thing))


def shown_above(name: str) -> bool:
    return any(name in names for _, names in GROUPS.values())


def errors_parts() -> Iterator[str]:
    own = [
        (name, thing)
        for name, thing in vars(errors).items()
        if inspect.isclass(thing) and thing.__module__ == errors.__name__
    ]
    yield "What the kit raises about its own use; each message says what to do instead."
    rows = [(f"`{name}`", bases(thing), purpose_of(thing)) for name, thing in own]
    yield table(("error", "is a", "meaning"), rows)
    for name, thing in own:
        for attribute, said in items(parsed(doc_of(thing)).sections.get("Attributes", "")):
            if attribute:
                yield f"`{name}.{attribute}`: {said}"


def bases(cls: type) -> str:
    return ", ".join(f"`{each.__name__}`" for each in cls.__bases__)


# --- Markdown ------------------------------------------------------------------------------------


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def link(name: str) -> str:
    """To a name on this page."""
    return f"[`{name}`](#{name.lower()})"


def main() -> None:
    if "--check" in sys.argv[1:]:
        current = PAGE.exists() and PAGE.read_text() == drawn()
        raise SystemExit(0 if current else f"{PAGE} is out of date: run {__file__}")
    PAGE.write_text(drawn())


if __name__ == "__main__":
    main()
