"""The OpenRPC document: well formed, complete, and true of what really goes over the wire."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import jsonschema
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7
from server_kit import (
    OTHER,
    WATCHER,
    Limits,
    Peer,
    RawPeer,
    Refused,
    open_peer,
    open_world,
    run,
)

from supervisor._errors import InvalidArguments
from supervisor._methods import METHODS, NOTIFICATIONS, Scope, parse_params
from supervisor._model import JobState, LogsLagged
from supervisor._openrpc import document, document_json
from supervisor._wire import CODES
from supervisor._wire_records import item_to_wire

DATA = Path(__file__).with_name("data")
META = json.loads((DATA / "openrpc-1.4.json").read_text())
JSON_SCHEMA = json.loads((DATA / "json-schema-tools-1.8.0.json").read_text())

DOCUMENT: dict[str, Any] = json.loads(document_json())
BY_NAME = {method["name"]: method for method in DOCUMENT["methods"]}
SCHEMAS = DOCUMENT["components"]["schemas"]
ERRORS = DOCUMENT["components"]["errors"]

FORMATS = jsonschema.FormatChecker(formats=[])


@FORMATS.checks("date-time", raises=ValueError)
def is_time(value: object) -> bool:
    return not isinstance(value, str) or (
        datetime.fromisoformat(value).tzinfo is not None and value.endswith("Z")
    )


def check(schema: Any, value: Any, *, closed: bool = False) -> None:
    """Raise ValidationError unless the value is as this schema of the document has it.

    Args:
        closed: a field that the schema does not know is wrong, too.
    """
    components = CLOSED if closed else DOCUMENT["components"]
    whole = {**(sealed(schema) if closed else schema), "components": components}
    jsonschema.Draft7Validator(whole, format_checker=FORMATS).validate(value)


def sealed(schema: Any) -> Any:
    """The same, but closed: what we send has to be all there."""
    if isinstance(schema, list):
        return [sealed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: sealed(value) for key, value in schema.items()}
    if isinstance(out.get("properties"), dict) and out.get("type") == "object":
        out["additionalProperties"] = False
    return out


CLOSED = sealed(DOCUMENT["components"])


def params_schema(name: str) -> dict[str, Any]:
    """The parameters of a method as one closed object."""
    params = BY_NAME[name]["params"]
    return {
        "type": "object",
        "properties": {param["name"]: param["schema"] for param in params},
        "required": [param["name"] for param in params if param["required"]],
        "additionalProperties": False,
    }


# --- well formed ---------------------------------------------------------------------------------


def test_it_passes_the_meta_schema() -> None:
    registry: Registry[Any] = Registry().with_resources(
        [
            ("https://meta.json-schema.tools", Resource(JSON_SCHEMA, DRAFT7)),
            ("https://meta.json-schema.tools/", Resource(JSON_SCHEMA, DRAFT7)),
        ]
    )
    validator = jsonschema.Draft7Validator(META, registry=registry)
    validator.validate(DOCUMENT)
    for spoil in (
        lambda it: it.update(openrpc="1.3.2"),
        lambda it: it.pop("info"),
        lambda it: it["methods"][0].pop("params"),
        lambda it: it["methods"][0]["params"][0].pop("schema"),
        lambda it: it["components"]["errors"]["overloaded"].update(code="x"),
        lambda it: it["components"]["schemas"]["Job"].update(type="record"),
    ):
        spoiled = copy.deepcopy(DOCUMENT)
        spoil(spoiled)
        assert not validator.is_valid(spoiled)


def inner(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a value."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, (dict, list)):
            yield from inner(item)


def test_every_reference_leads_somewhere() -> None:
    refs = {it["$ref"] for it in inner(DOCUMENT) if isinstance(it.get("$ref"), str)}
    for ref in refs:
        _, components, group, name = ref.split("/")
        assert name in DOCUMENT[components][group]
    used = {ref.rsplit("/", 1)[1] for ref in refs} | {m.params.__name__ for m in METHODS.values()}
    used |= {cls.__name__ for cls in NOTIFICATIONS.values()} | {"Refusal", "Ack"}
    assert set(SCHEMAS) <= used, "a record that nothing mentions"


def test_every_schema_is_one() -> None:
    for schema in SCHEMAS.values():
        jsonschema.Draft7Validator.check_schema(schema)


def test_what_must_be_given_comes_first() -> None:
    for method in DOCUMENT["methods"]:
        required = [param["required"] for param in method["params"]]
        assert required == sorted(required, reverse=True)


def test_it_is_made_once() -> None:
    assert document() is document()
    assert document_json() is document_json()
    assert json.loads(json.dumps(document())) == DOCUMENT


# --- complete ------------------------------------------------------------------------------------


def test_every_method_is_in_it() -> None:
    requests = [it for it in DOCUMENT["methods"] if it["x-sender"] == "client"]
    assert [it["name"] for it in requests] == list(METHODS)
    for it in requests:
        method = METHODS[it["name"]]
        assert it["paramStructure"] == "by-name"
        assert it["summary"] == method.summary
        assert it.get("x-scope") == (None if method.scope is None else method.scope.value)
        names = {field.name for field in attrs.fields(method.params)}
        assert {param["name"] for param in it["params"]} == names
        assert ("result" in it) == (it["name"] != "$/cancelRequest")


def test_every_notification_is_in_it() -> None:
    sent = {it["name"]: it for it in DOCUMENT["methods"] if it["x-sender"] == "server"}
    assert set(sent) == set(NOTIFICATIONS)
    for name, it in sent.items():
        assert "result" not in it
        params = {param["name"]: param["required"] for param in it["params"]}
        assert set(params) == {field.name for field in attrs.fields(NOTIFICATIONS[name])}
    event = [param["name"] for param in sent["events.event"]["params"]]
    assert event[:2] == ["subscription_id", "prev_seq"]


def test_every_error_is_in_it() -> None:
    assert {kind: it["code"] for kind, it in ERRORS.items()} == CODES
    mentioned = {
        ref["$ref"].rsplit("/", 1)[1]
        for method in DOCUMENT["methods"]
        for ref in method.get("errors", [])
    }
    # Those that no method answers: the message had none, or the connection is refused.
    assert set(CODES) - mentioned == {"parse_error", "method_not_found", "version_not_supported"}


def test_everything_has_words() -> None:
    for name, schema in SCHEMAS.items():
        assert name.endswith("Data") or schema.get("description"), name
        for field, told in schema.get("properties", {}).items():
            assert field in ("kind", "retryable") or told.get("description"), (name, field)
    for method in DOCUMENT["methods"]:
        assert all(param["description"] for param in method["params"])
    for it in inner(DOCUMENT):
        if isinstance(text := it.get("description"), str):
            assert text.endswith((".", "`")) and "\n" not in text and "Args" not in text
            assert not re.search(r"\bNone\b|\bTrue\b|\bFalse\b|data\[", text), text


def test_absent_is_not_null_in_what_we_send() -> None:
    sent = {name: it for name, it in SCHEMAS.items() if not name.endswith(("Params", "Position"))}
    assert not [name for name, it in sent.items() if '"null"' in json.dumps(it)]
    assert {"id", "log_lines"} <= set(SCHEMAS["Job"]["required"])
    assert not {"result", "error", "certificate"} & set(SCHEMAS["Job"]["required"])
    assert SCHEMAS["Job"]["properties"]["created_at"]["format"] == "date-time"
    assert SCHEMAS["Job"]["properties"]["ended_at"]["format"] == "date-time"


def test_choices_are_in_their_own_order_and_patterns_are_those_of_json_schema() -> None:
    assert SCHEMAS["JobState"]["enum"] == [state.value for state in JobState]
    patterns = {it["pattern"] for it in inner(DOCUMENT) if isinstance(it.get("pattern"), str)}
    assert patterns == {r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"}


@pytest.mark.parametrize("name", ["StartEntry", "CancelEntry"])
def test_an_entry_is_a_result_or_an_error(name: str) -> None:
    many = {"StartEntry": "job.start_many", "CancelEntry": "job.cancel_many"}[name]
    (example,) = BY_NAME[many]["examples"]
    result = example["result"]["value"]["results"][0]["result"]
    error = {"code": -32014, "message": "m", "data": {"kind": "shutting_down", "retryable": True}}
    schema = {"$ref": f"#/components/schemas/{name}"}
    check(schema, {"result": result})
    check(schema, {"error": error})
    for wrong in ({}, {"result": result, "error": error}, {"error": {**error, "data": {}}}):
        with pytest.raises(jsonschema.ValidationError):
            check(schema, wrong)


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_examples_are_as_the_document_says(name: str) -> None:
    method = BY_NAME[name]
    assert method["examples"]
    for example in method["examples"]:
        params = {param["name"]: param["value"] for param in example["params"]}
        check(params_schema(name), params)
        if method["x-sender"] == "client":
            parse_params(METHODS[name], params)
        assert ("result" in example) == ("result" in method)
        if "result" in method:
            check(method["result"]["schema"], example["result"]["value"], closed=True)


# --- true ----------------------------------------------------------------------------------------


class Recorder:
    """A websocket that keeps what is said."""

    def __init__(self, websocket: Any) -> None:
        self._websocket = websocket
        self.log: list[tuple[str, Any]] = []

    async def send_message(self, message: Any) -> None:
        with suppress(ValueError):
            self._keep("sent", json.loads(message))
        await self._websocket.send_message(message)

    async def get_message(self) -> Any:
        message = await self._websocket.get_message()
        self._keep("heard", json.loads(message))
        return message

    def _keep(self, way: str, message: Any) -> None:
        for item in message if isinstance(message, list) else [message]:
            self.log.append((way, item))


@attrs.define
class Seen:
    """What of the document was met with."""

    results: set[str] = attrs.Factory(set)
    errors: set[str] = attrs.Factory(set)
    notifications: set[str] = attrs.Factory(set)

    def check(self, log: list[tuple[str, Any]]) -> None:
        """Hold what was said against the document."""
        requests: dict[Any, Any] = {}
        for way, message in log:
            if way == "heard" and "method" in message:
                self._notified(message)
            elif way == "heard":
                self._answered(requests.pop(message["id"], None), message)
            elif "id" in message:
                requests[message["id"]] = message

    def _notified(self, message: dict[str, Any]) -> None:
        name = message["method"]
        assert BY_NAME[name]["x-sender"] == "server"
        check(params_schema(name), message["params"], closed=True)
        self.notifications.add(name)

    def _answered(self, request: Any, message: dict[str, Any]) -> None:
        if "error" in message:
            self._refused(request, message["error"])
            return
        method = BY_NAME[request["method"]]
        check(params_schema(method["name"]), request.get("params") or {})
        if method["name"] != "rpc.discover":
            check(method["result"]["schema"], message["result"], closed=True)
        self.results.add(method["name"])

    def _refused(self, request: Any, error: dict[str, Any]) -> None:
        kind = error["data"]["kind"]
        check({"$ref": "#/components/schemas/Refusal"}, error, closed=True)
        check(ERRORS[kind]["data"], error["data"], closed=True)
        assert error["code"] == ERRORS[kind]["code"]
        if request is not None and request["method"] in BY_NAME:
            listed = BY_NAME[request["method"]]["errors"]
            assert {"$ref": f"#/components/errors/{kind}"} in listed, (request["method"], kind)
        self.errors.add(kind)


async def refused(peer: Peer, method: str, **params: Any) -> None:
    with pytest.raises(Refused):
        await peer.call(method, **params)


async def everything(peer: Peer) -> None:
    """Every method, and as many of the errors as come without a crowd."""
    hello = await peer.call("session.hello", client="a test", resume_token="no such")
    await refused(peer, "session.hello")
    await peer.call("session.ping")
    info = await peer.call("server.info")
    assert info["jobs"]
    await peer.call("events.subscribe", logs=True, progress=True)
    some = await peer.call("events.subscribe", filter={"name": "nap"}, since=None)
    await jobs(peer)
    await peer.call("events.unsubscribe", subscription_id=some["subscription_id"])
    page = await peer.call("job.list", state=["succeeded", "failed"], limit=1)
    await peer.call("job.list", state="failed", cursor=None)
    await peer.call("job.list", limit=1, cursor=page["next_cursor"])
    await wrong(peer, hello["instance"])
    assert await peer.call("rpc.discover") == DOCUMENT


async def jobs(peer: Peer) -> None:
    await peer.call("job.start", name="nap", args={"seconds": 5}, job_id="a", labels={"x": "y"})
    await peer.call("job.run", name="talk", args={"lines": 3}, timeout=100)
    await peer.call("job.run", name="fail")
    await peer.call("job.start_many", jobs=[{"name": "nap"}, {"name": "no"}, {"command": ["a\0"]}])
    await peer.call("job.get", job_id="a")
    await peer.call("job.cancel", job_id="later", if_unknown="remember")
    await peer.call("job.run", name="nap", job_id="later", args={"seconds": 1})
    stubborn = {"name": "stubborn", "args": {"seconds": 600}, "grace": 0, "job_id": "s"}
    await peer.call("job.start", **stubborn, on_disconnect="keep")
    await peer.call("job.cancel", job_id="s", wait="finished", timeout=2, reason="enough")
    await peer.call("job.cancel", job_id="s", grace=0)
    stuck = await peer.call("job.get", job_id="s")
    assert stuck["job"]["state"] in ("stuck", "cancelling")
    await peer.call("job.run", name="nap", timeout=0.5, job_id="slow")
    await peer.call("job.run", name="nap", args={"seconds": 60})  # long enough for bookmarks
    await peer.call("job.cancel_many", filter={"name": "nap"}, wait="finished")
    await peer.call("job.wait", job_id="a", timeout=1)
    page = await peer.call("job.list", name="talk")
    logs = await peer.call("job.logs", job_id=page["jobs"][0]["id"], since=0, limit=2)
    assert len(logs["entries"]) == 2


async def wrong(peer: Peer, instance: str) -> None:
    """One error after the other."""
    await refused(peer, "job.get", job_id="nobody")
    await refused(peer, "job.get")
    await refused(peer, "no.such.method")
    await refused(peer, "job.start", name="tset")
    await refused(peer, "job.start", name="nap", job_id="a", id_reuse_policy="reject")
    await refused(peer, "job.wait", job_id="s", timeout=0.5)
    await refused(peer, "events.subscribe", since={"instance": "another", "seq": 1})
    await refused(peer, "events.subscribe", since={"instance": instance, "seq": 10**9})
    await refused(peer, "events.unsubscribe", subscription_id="e99")
    for broken in ("{", []):
        await peer.say(broken)
        with pytest.raises(Refused):
            await peer.answer(None)
    waiting = await peer.ask("job.wait", job_id="s")
    await peer.cancel(waiting)
    with pytest.raises(Refused):
        await peer.answer(waiting)
    for _ in range(60):
        with suppress(Refused):
            await peer.call("events.subscribe")


def test_real_traffic_is_as_the_document_says() -> None:
    seen = Seen()

    async def test() -> None:
        logs = []
        async with (
            open_world(limits=Limits(subscriptions=50)) as world,
            open_peer(world) as peer,
            open_peer(world, WATCHER) as watcher,
            open_peer(world, None) as stranger,
        ):
            for it in (peer, watcher, stranger):
                it.websocket = recorder = Recorder(it.websocket)
                logs.append(recorder.log)
            await refused(stranger, "session.ping")
            await everything(peer)
            await refused(watcher, "job.cancel", job_id="a")
            await refused(watcher, "server.shutdown")
            await peer.call("server.shutdown", mode="cancel", grace=0)
            await refused(peer, "job.start", name="nap")
            await world.server.close()
            await peer.closed()
        for log in logs:
            seen.check(log)

    run(test)
    assert set(METHODS) - seen.results == {"$/cancelRequest"}
    assert set(CODES) - seen.errors == {"internal_error", "unsupported", "version_not_supported"}
    assert set(NOTIFICATIONS) - seen.notifications == {"events.lagged"}  # see the next one


def test_what_is_told_of_dropped_lines_is_as_the_document_says() -> None:
    method, params = item_to_wire(LogsLagged(job_id="a", from_n=1, to_n=2))
    check(params_schema(method), {"subscription_id": "e1", **params}, closed=True)


PROGRAM = r"echo hi; printf '\377\n' >&2; exit 3"


async def test_commands_are_as_the_document_says() -> None:
    seen = Seen()
    with trio.fail_after(60):
        async with open_world() as world, open_peer(world) as peer:
            peer.websocket = recorder = Recorder(peer.websocket)
            await peer.call("events.subscribe", logs=True)
            await peer.call("job.run", command=["sh", "-c", PROGRAM], job_id="a")
            (line,) = [
                entry
                for entry in (await peer.call("job.logs", job_id="a"))["entries"]
                if entry["stream"] == "stderr"
            ]
            assert line["base64"]
            env = {"argv": ["sleep", "1000"], "cwd": "/", "env": {"PATH": "/bin:/usr/bin"}}
            await peer.call("job.start", command=env, job_id="b")
            await peer.call("job.cancel", job_id="b", wait="finished", grace=10)
            await peer.call("job.run", command=["no-such-program-at-all"])
            seen.check(recorder.log)
    assert {"job.run", "job.cancel", "job.logs"} <= seen.results
    assert {"events.event", "events.log"} <= seen.notifications


# --- what the schema takes, we take ---------------------------------------------------------------

WORDS = st.sampled_from(["a", "run", "cancel", "running", "keep", "use_existing", "", "x y", "e1"])
# Without 1e10: JSON Schema calls it an integer, the server wants whole numbers written as such.
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 20_000) | st.just(0.5) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                ["argv", "cwd", "env", "instance", "seq", "state", "name", "labels", "x"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=4,
)
FIELDS = sorted({field.name for m in METHODS.values() for field in attrs.fields(m.params)})


@given(st.data(), st.sampled_from(sorted(METHODS)))
def test_what_the_document_allows_is_what_is_accepted(data: st.DataObject, name: str) -> None:
    own = [param["name"] for param in BY_NAME[name]["params"]]
    fields = st.sampled_from([*own, *own, *own, "x"]) if own else st.sampled_from(FIELDS)
    needed = [param["name"] for param in BY_NAME[name]["params"] if param["required"]]
    params = data.draw(st.dictionaries(fields, VALUES, max_size=3))
    params |= {field: data.draw(VALUES) for field in needed}
    try:
        check(params_schema(name), params)
        allowed = True
    except jsonschema.ValidationError:
        allowed = False
    try:
        parse_params(METHODS[name], params)
        accepted = True
    except InvalidArguments:
        accepted = False
    assert allowed == accepted, params


# --- how it is had -------------------------------------------------------------------------------


def test_any_token_may_ask_for_it() -> None:
    async def test() -> None:
        async with open_world() as world, open_peer(world, WATCHER) as peer:
            assert await peer.call("rpc.discover") == DOCUMENT

    run(test)


def test_it_is_a_page_for_those_with_a_token() -> None:
    get = "GET /openrpc.json HTTP/1.1\r\nHost: localhost\r\n"

    async def test() -> None:
        async with open_world() as world:
            status, answer = await RawPeer(world.open_stream()).http(
                f"{get}Authorization: Bearer {OTHER}\r\n\r\n"
            )
            head, _, body = answer.partition("\r\n\r\n")
            assert status == 200
            assert "content-type: application/json\r\n" in head.lower()
            assert json.loads(body) == DOCUMENT
            status, answer = await RawPeer(world.open_stream()).http(f"{get}\r\n")
            assert status == 401
            assert "methods" not in answer

    run(test)


def test_every_scope_is_needed_somewhere() -> None:
    needed = {it.get("x-scope") for it in DOCUMENT["methods"]} | {"exec"}
    assert needed >= set(Scope)
    assert "`exec`" in BY_NAME["job.start"]["description"]


def test_nothing_is_said_twice() -> None:
    names = [method["name"] for method in DOCUMENT["methods"]]
    assert len(names) == len(set(names))
