"""The pages on the control channel: a reference drawn from the code, a guide that agrees."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

from supervisor._methods import METHODS, NOTIFICATIONS, Scope, parse_params
from supervisor._openrpc import document
from supervisor._server import Limits
from supervisor._server.dispatch import WHOLE_ENTRIES
from supervisor._wire import CODES, SUBPROTOCOL

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
GUIDE = (DOCS / "protocol.md").read_text()
REFERENCE = (DOCS / "reference.md").read_text()
SCRIPT = runpy.run_path(str(DOCS / "draw_reference.py"))


def anchors(page: str) -> set[str]:
    """The places of a page that can be linked to, as GitHub names them."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.*)", page, re.MULTILINE):
        anchor = re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-"))
        again = found.count(anchor)
        found += [anchor, f"{anchor}-{again}"] if again else [anchor]
    return set(found)


def test_the_reference_is_current() -> None:
    assert SCRIPT["drawn"]() == REFERENCE, "run: python docs/draw_reference.py"


def test_everything_is_in_the_reference() -> None:
    for name in (*METHODS, *NOTIFICATIONS):
        assert f"\n### {name}\n" in REFERENCE
    for kind, code in CODES.items():
        assert f"| {code} | `{kind}` |" in REFERENCE
    for method in document()["methods"]:
        part = REFERENCE.partition(f"\n### {method['name']}\n")[2].partition("\n### ")[0]
        assert all(f"`{param['name']}`" in part for param in method["params"])


def test_every_link_within_the_pages_leads_somewhere() -> None:
    assert set(re.findall(r"\]\(#([^)]*)\)", REFERENCE)) <= anchors(REFERENCE)
    links = re.findall(r"\]\(reference\.md#([^)]*)\)", GUIDE)
    assert links and set(links) <= anchors(REFERENCE)
    for name in re.findall(r"\]\(([\w./-]+\.md)\)", GUIDE + REFERENCE):
        assert (DOCS / name).exists(), name


def test_the_guide_names_only_what_there_is() -> None:
    named = set(re.findall(r"`((?:session|job|events|server|rpc)\.[a-z_]+)[` ]", GUIDE))
    types = event_types()
    assert named <= {*METHODS, *NOTIFICATIONS, *types, "job.attempt_ended"}
    assert set(NOTIFICATIONS) <= named
    assert SUBPROTOCOL in GUIDE
    assert all(f"`{scope}`" in GUIDE for scope in Scope)


def event_types() -> set[str]:
    inner = ROOT / "supervisor"
    source = (inner / "_lifecycle.py").read_text() + (inner / "_engine.py").read_text()
    return set(re.findall(r'"(job\.[a-z_]+)"', source))


def test_every_event_type_of_the_lifecycle_is_in_the_guide() -> None:
    types = event_types()
    assert types and [type for type in sorted(types) if f"`{type}`" not in GUIDE] == []


def test_every_limit_that_clients_are_told_is_in_the_guide_or_goes_with_one() -> None:
    told = set(Limits().for_clients())
    missing = {name for name in told if f"`{name}`" not in GUIDE and f"limits.{name}" not in GUIDE}
    assert missing <= {"messages_burst", "bytes_burst"}
    assert set(re.findall(r"`limits\.(\w+)`", GUIDE)) <= told


def test_every_close_code_is_in_the_guide() -> None:
    source = "".join(path.read_text() for path in (ROOT / "supervisor" / "_server").glob("*.py"))
    codes = set(re.findall(r"\b(10[01]\d|44\d\d)(?=, [\"r])", source))
    assert {"1001", "1013", "4401"} <= codes
    assert [code for code in sorted(codes) if f"| {code} |" not in GUIDE] == []


def test_the_guide_says_what_a_start_is_refused_with() -> None:
    kinds = METHODS["job.start"].errors
    assert "job_id_conflict" in kinds
    assert [kind for kind in kinds if f"\n| `{kind}` |" not in GUIDE] == []


def test_the_guide_says_when_not_to_come_back() -> None:
    (taken_over,) = re.findall(r"^\| 1008 \|.*", GUIDE, re.MULTILINE)
    assert "`resume_token`" in taken_over and "do not come back" in taken_over
    (again,) = re.findall(r"^3\. send again .*", GUIDE, re.MULTILINE)
    assert "At another `instance` send none" in again


def test_the_guide_says_how_many_answers_of_a_bulk_cancel_are_whole() -> None:
    assert f"more than {WHOLE_ENTRIES} results" in GUIDE
    assert f"more than {WHOLE_ENTRIES}," in REFERENCE


def test_the_messages_in_the_guide_are_good() -> None:
    texts = re.findall(r"^```json\n(.*?)\n```", GUIDE, re.MULTILINE | re.DOTALL)
    messages = list(map(json.loads, texts))
    assert len(messages) >= 3
    for message in messages:
        parse_params(METHODS[message["method"]], message["params"])
