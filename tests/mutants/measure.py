"""Mutation testing of the core: what share of deliberate defects do the tests notice?

mutmut makes the mutants of each module's functions and runs the tests that reach them; `table.py`
makes those of the table of transitions, which is no function. Every mutant that survives is looked
up in `explained.toml`. The exit code is 1 if one is not explained, or if an explanation is of a
mutant that does not survive any more.

Nothing is written into the tree: mutmut works in a copy.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs
from lift import lift

HERE = Path(__file__).resolve().parent
TREE = HERE.parents[1]
EXPLAINED = HERE / "explained.toml"

_CORE = (
    *("engine", "cancel", "start", "shutdown", "slots", "ids", "events", "logs"),
    *("odd_failures", "slow_store", "supervisor"),
)
TESTS: dict[str, tuple[str, ...]] = {
    "_policy": ("policy",),
    "_lifecycle": ("lifecycle",),
    "_ledger": ("ledger", "view", "ids", "control", "events", "slots"),
    "_engine": (*_CORE, "containment"),
    "_supervisor": (*_CORE, "control", "bad_input", "function"),
}
"""The tests by which the mutants of a module are judged: quick ones, that are about it."""

LONG = (
    "tests/test_start.py::test_ten_thousand_jobs_end_and_leave_nothing",
    "tests/test_containment.py::test_a_tree_of_two_hundred",
)
"""Those of them that are left out: seconds for every mutant, and nothing that others do not see."""

TABLE = "TRANSITIONS"
PARTS = ("_policy", "_lifecycle", TABLE, "_ledger", "_engine", "_supervisor")
"""What is measured, the quickest first."""

SURVIVED, NO_TESTS, NOT_CHECKED = 0, (5, 33), None
"""Exit codes that mutmut keeps of a mutant; any other is of tests that noticed."""
TIMED_OUT = frozenset({-24, 24, 36, 152, 255})

CONFIG = """
[tool.mutmut]
source_paths = ["supervisor"]
only_mutate = ["supervisor/{module}.py"]
pytest_add_cli_args_test_selection = {tests}
pytest_add_cli_args = {options}
also_copy = ["README.md", "docs", "examples"]
timeout_multiplier = 6.0
timeout_constant = 3.0
use_git_change_detection = false
track_dependencies = false
"""


@attrs.frozen
class Mutant:
    """A change to one function, or to one cell of a table, that is told apart by its text."""

    where: str
    was: str
    becomes: str

    @property
    def part(self) -> str:
        """The module, or the table."""
        return self.where.partition("[")[0].partition(".")[0]


@attrs.frozen
class Score:
    """What became of the mutants of one module."""

    module: str
    mutants: int
    timed_out: int
    survivors: tuple[Mutant, ...]

    @property
    def killed(self) -> int:
        return self.mutants - len(self.survivors)


def measure(part: str, work: Path, processes: int) -> Score:
    """What becomes of the mutants of one part, in a copy of the tree.

    Raises:
        SystemExit: not all of them could be tried.
    """
    root = work / part.strip("_").lower()
    copy_tree(root)
    # In CI Hypothesis tries the same examples in every run, so that the score is the same as well.
    environment = {**os.environ, "CI": "true"}
    if part == TABLE:
        return measure_table(root, environment, processes)
    return measure_module(part, root, environment, processes)


def measure_table(root: Path, environment: dict[str, str], processes: int) -> Score:
    """The same of the table of transitions."""
    command = [sys.executable, str(HERE / "table.py"), "--processes", str(processes)]
    found = json.loads(output_of(command, root, {**environment, "PYTHONPATH": str(root)}))
    return Score(TABLE, found["mutants"], 0, tuple(Mutant(*each) for each in found["survivors"]))


def output_of(command: Sequence[str], root: Path, environment: dict[str, str]) -> str:
    """What a command prints.

    Raises:
        SystemExit: it failed.
    """
    done = subprocess.run(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\n{' '.join(command)} failed (exit {done.returncode})")
    return done.stdout


# --- mutmut ---------------------------------------------------------------------------------------


def measure_module(module: str, root: Path, environment: dict[str, str], processes: int) -> Score:
    """The same of the functions of one module."""
    source = root / "supervisor" / f"{module}.py"
    source.write_text(lift(source.read_text()))
    if module == "_engine":
        allow_for_frame(root / "supervisor" / "launchers" / "function.py")
    tests = [f"tests/test_{name}.py" for name in TESTS[module]]
    options = ["-p", "no:cacheprovider", "-p", "steady", *(f"--deselect={test}" for test in LONG)]
    config = CONFIG.format(module=module, tests=tests, options=options)
    with (root / "pyproject.toml").open("a") as project:
        project.write(config)
    mutmut = str(Path(sys.executable).with_name("mutmut"))
    # Named, so that it first sees the tests pass just as it is going to run them.
    mutants = f"supervisor.{module}.*"
    environment = {**environment, "PYTHONPATH": str(HERE)}  # the plugin; the rest mutmut finds
    output_of([mutmut, "run", "--max-children", str(processes), mutants], root, environment)
    return read(module, root / "mutants" / "supervisor" / f"{module}.py")


def allow_for_frame(launcher: Path) -> None:
    """A stuck job's stack begins at its body; mutmut's wrapper is one more frame below that.

    Raises:
        SystemExit: the launcher does not count frames as it did.
    """
    source = launcher.read_text()
    changed = source.replace("_BELOW_THE_BODY = 2", "_BELOW_THE_BODY = 3")
    if changed == source:
        sys.exit(f"{launcher.name} does not say how many frames are below a body")
    launcher.write_text(changed)


def copy_tree(root: Path) -> None:
    """What the tests need, and nothing that an earlier run left there."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for name in ("supervisor", "tests", "docs", "examples"):
        ignored = shutil.ignore_patterns("__pycache__", "node_modules", ".hypothesis")
        shutil.copytree(TREE / name, root / name, ignore=ignored)
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(TREE / name, root / name)


def read(module: str, mutated: Path) -> Score:
    """What mutmut has found out about a module.

    Raises:
        SystemExit: it has not tried every mutant.
    """
    codes = json.loads(Path(f"{mutated}.meta").read_text())["exit_code_by_key"]
    if NOT_CHECKED in codes.values():
        sys.exit(f"mutmut was interrupted at {module}")
    source = mutated.read_text()
    functions = dict(_functions(source))
    survivors = [
        _mutant(module, name.rpartition(".")[2], functions)
        for name, code in codes.items()
        if code == SURVIVED or code in NO_TESTS
    ]
    timed_out = sum(code in TIMED_OUT for code in codes.values())
    return Score(module, len(codes), timed_out, tuple(survivors))


def _functions(source: str) -> Iterator[tuple[str, list[str]]]:
    """The lines of each function and method of a module."""
    lines = source.splitlines()
    tree = ast.parse(source)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for node in itertools.chain(tree.body, *(each.body for each in classes)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, lines[node.lineno - 1 : node.end_lineno]


def _mutant(module: str, name: str, functions: dict[str, list[str]]) -> Mutant:
    """Named as in the source, and told by the lines that differ."""
    mangled, _, _ = name.rpartition("__mutmut_")
    # xǁClassǁmethod is a method, x_function a function.
    path = mangled[2:].split("ǁ") if mangled.startswith("xǁ") else [mangled[2:]]
    original = f"{mangled}__mutmut_orig"
    before = [line.replace(original, path[-1]) for line in functions[original]]
    after = [line.replace(name, path[-1]) for line in functions[name]]
    differs = [line for line in difflib.ndiff(before, after) if line[0] in "-+"]
    was, becomes = (
        " ".join(line[2:].strip() for line in differs if line[0] == sign) for sign in "-+"
    )
    return Mutant(".".join([module, *path]), was, becomes)


# --- the explanations -----------------------------------------------------------------------------


def explained(path: Path = EXPLAINED) -> dict[Mutant, str]:
    """Why each mutant that is known to survive does so."""
    return {
        Mutant(entry["where"], was, becomes): entry["why"]
        for entry in tomllib.loads(path.read_text()).get("survivor", [])
        for was, becomes in entry["changes"]
    }


def compare(scores: Sequence[Score], known: dict[Mutant, str]) -> list[str]:
    """What is wrong with the explanations: those that are missing, and those that are stale."""
    survivors = {mutant for score in scores for mutant in score.survivors}
    measured = {score.module for score in scores}
    stale = [mutant for mutant in known if mutant not in survivors and mutant.part in measured]
    missing = [
        "not explained:\n\n" + as_entry(mutant)
        for score in scores
        for mutant in dict.fromkeys(score.survivors)
        if mutant not in known
    ]
    return missing + ["stale, no such mutant survives:\n\n" + as_entry(each) for each in stale]


def as_entry(mutant: Mutant) -> str:
    """As `explained.toml` has it, to be completed."""
    # A string of JSON is one of TOML.
    where, was, becomes = (
        json.dumps(text, ensure_ascii=False) for text in (mutant.where, mutant.was, mutant.becomes)
    )
    return f"""[[survivor]]
where = {where}
changes = [
  [{was}, {becomes}],
]
why = ""
"""


def table(scores: Sequence[Score], known: dict[Mutant, str]) -> Iterator[str]:
    """The scores as lines of text."""
    rows = [_row(score.module, [score], known) for score in scores]
    if len(scores) > 1:
        rows.append(_row("together", scores, known))
    heads = ("module", "mutants", "killed", "of these timed out", "survive", "explained", "score")
    widths = [max(len(row[place]) for row in (heads, *rows)) for place in range(len(heads))]
    for row in (heads, *rows):
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join([row[0].ljust(widths[0]), *cells])


def _row(name: str, scores: Iterable[Score], known: dict[Mutant, str]) -> tuple[str, ...]:
    scores = tuple(scores)
    mutants = sum(score.mutants for score in scores)
    killed = sum(score.killed for score in scores)
    survivors = [mutant for score in scores for mutant in score.survivors]
    return (
        name,
        str(mutants),
        str(killed),
        str(sum(score.timed_out for score in scores)),
        str(len(survivors)),
        str(sum(mutant in known for mutant in survivors)),
        f"{killed / mutants:.1%}",
    )


# --- the command ----------------------------------------------------------------------------------


def main() -> int:
    """Measure, print the table, and compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of: {', '.join(PARTS)}")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--work", type=Path, help="where to work, and leave what mutmut found")
    options = parser.parse_args()
    for name in options.modules:
        if name not in PARTS:
            parser.error(f"{name} is none of: {', '.join(PARTS)}")
    known = explained()
    scores: list[Score] = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        work = (options.work or Path(scratch)).resolve()
        for part in options.modules or PARTS:
            scores.append(measure(part, work, options.processes))
            say(scores[-1], known)
    print()
    print(*table(scores, known), sep="\n")
    return 1 if compare(scores, known) else 0


def say(score: Score, known: dict[Mutant, str]) -> None:
    """What is wrong with one part, as soon as it is known: the whole takes long."""
    print(f"{score.module}: {score.killed} of {score.mutants} mutants are killed", flush=True)
    for problem in compare([score], known):
        print(f"\n{problem}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
