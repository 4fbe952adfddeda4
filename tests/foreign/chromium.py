"""Headless Chromium, driven over its own debugging protocol: real pages, real clicks.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import queue
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from foreign_server import PATIENCE
from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# A promise that is kept once `condition` holds; the page is looked at whenever it changes.
WHEN = """
new Promise((resolve) => {
  const look = () => (CONDITION) && (observer.disconnect(), resolve(document.body.innerText))
  const observer = new MutationObserver(look)
  const everything = {subtree: true, childList: true, characterData: true, attributes: true}
  observer.observe(document, everything)
  look()
})
"""


def require_chromium() -> str:
    """The command; else skip."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    pytest.skip("chromium is not here (Debian: apt-get install chromium)")


class Page:
    """One tab, in a profile of its own."""

    def __init__(self, socket: ClientConnection, ids: Iterator[int]) -> None:
        self._socket = socket
        self._ids = ids
        self._session: str | None = None
        self.sent: list[str] = []
        self.lines: list[str] = []
        self.faults: list[Any] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the debugging protocol, and its answer."""
        id = next(self._ids)
        command: dict[str, Any] = {"id": id, "method": method, "params": params}
        if self._session is not None:
            command["sessionId"] = self._session
        self._socket.send(json.dumps(command))
        answer = self._until(lambda message: message.get("id") == id)
        assert "error" not in answer, answer["error"]
        return dict(answer["result"])

    def _until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first message of this kind; what comes before is noted."""
        deadline = time.monotonic() + PATIENCE
        while True:
            message: dict[str, Any] = json.loads(self._socket.recv(deadline - time.monotonic()))
            if wanted(message):
                return message
            if message.get("sessionId") == self._session:
                self._note(message.get("method"), message.get("params"))

    def _note(self, method: str | None, params: Any) -> None:
        if method == "Network.webSocketFrameSent":
            self.sent.append(params["response"]["payloadData"])
        elif method == "Runtime.consoleAPICalled":
            self.lines.append(" ".join(str(each.get("value")) for each in params["args"]))
        elif method == "Runtime.exceptionThrown":
            self.faults.append(params["exceptionDetails"])

    def open(self) -> str:
        """Open the tab; its profile."""
        profile = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=profile)
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Network", "Runtime", "Page"):
            self.call(f"{domain}.enable")
        self.call("Page.setLifecycleEventsEnabled", enabled=True)
        return str(profile)

    def close(self, profile: str) -> None:
        """Close the tab, and forget its profile."""
        self._session = None
        self.call("Target.disposeBrowserContext", browserContextId=profile)

    def go(self, url: str) -> None:
        """Load another page."""
        loader = self.call("Page.navigate", url=url)["loaderId"]
        loaded = {"name": "load", "loaderId": loader}
        self._until(
            lambda message: (
                message.get("method") == "Page.lifecycleEvent"
                and message["params"].items() >= loaded.items()
            )
        )

    def run(self, script: str) -> Any:
        """The value of an expression, awaited if it is a promise."""
        done = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def when(self, condition: str) -> str:
        """Wait until this holds in the page; its text."""
        try:
            return str(self.run(WHEN.replace("CONDITION", condition)))
        except TimeoutError:
            raise AssertionError(f"never came: {condition}: {self.faults}") from None

    def received(self, text: str) -> None:
        """Wait until a message with this comes over a websocket of the page."""
        self._until(
            lambda message: (
                message.get("method") == "Network.webSocketFrameReceived"
                and message.get("sessionId") == self._session
                and text in message["params"]["response"]["payloadData"]
            )
        )

    def line(self) -> str:
        """The next line that the page's scripts write to the console."""
        while not self.lines:
            message = self._until(lambda message: message.get("sessionId") == self._session)
            self._note(message.get("method"), message.get("params"))
        return self.lines.pop(0)

    def text(self, selector: str) -> str:
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def click(self, script: str) -> None:
        """Press and release the mouse in the middle of the element that this expression gives."""
        x, y = self.run(
            f"(() => {{ const box = ({script}).getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2] })()"
        )
        for type in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=type, x=x, y=y, button="left", clickCount=1)

    def type(self, script: str, text: str) -> None:
        """Put the keyboard's focus there, and type instead of what was there."""
        self.run(f"(({script}).focus(), ({script}).select())")
        self.call("Input.insertText", text=text)

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


class Browser:
    """A browser that runs."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    @contextmanager
    def open_page(self, url: str) -> Iterator[Page]:
        """This page, until the block ends; its scripts may not fail."""
        page = Page(self._socket, self._ids)
        profile = page.open()
        try:
            page.go(url)
            yield page
            assert page.faults == []
        finally:
            page.close(profile)

    def end(self) -> None:
        Page(self._socket, self._ids).call("Browser.close")


@contextmanager
def open_browser(directory: Path) -> Iterator[Browser]:
    """Chromium, until the block ends."""
    options = [
        "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={directory / 'profile'}",
        "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--window-size=1000,700",
    ]  # fmt: skip
    if os.geteuid() == 0:
        options.append("--no-sandbox")  # it refuses to start as root otherwise
    browser = subprocess.Popen(
        [require_chromium(), *options, "about:blank"],
        env=os.environ | {"HOME": str(directory)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    said = Said(browser)
    try:
        # No pings: their thread draws from `random`, in the middle of later property tests.
        with connect(
            said.debugger(), max_size=None, compression=None, ping_interval=None
        ) as socket:
            driven = Browser(socket)
            yield driven
            driven.end()
        browser.wait(PATIENCE)
    finally:
        browser.kill()
        browser.wait()
        said.close()


class Said:
    """What the browser says on stderr: where it is to be driven, and much else."""

    def __init__(self, browser: subprocess.Popen[bytes]) -> None:
        assert browser.stderr is not None
        self._stream = browser.stderr
        self._lines: list[str] = []
        self._address: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._stream:
            self._lines.append(line.decode(errors="replace"))
            if found := re.search(r"DevTools listening on (ws://\S+)", self._lines[-1]):
                self._address.put(found[1])
        self._address.put(None)

    def debugger(self) -> str:
        """The address of its debugging protocol."""
        try:
            address = self._address.get(timeout=PATIENCE)
        except queue.Empty:
            address = None
        assert address is not None, f"the browser does not run: {''.join(self._lines)}"
        return address

    def close(self) -> None:
        self._thread.join(PATIENCE)
        self._stream.close()
