"""Headless Chromium over a pipe, by its DevTools protocol: nothing to install besides Chromium."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
_SECONDS = 300  # that one answer may take on a machine that is busy with other things


class Chromium:
    """A browser with one page; use it in a `with` block.

    Attributes:
        problems: Errors and warnings of the console, exceptions and refused requests so far.
        requests: Addresses that the page asked for.
    """

    def __init__(self, profile: Path) -> None:
        self.problems: list[str] = []
        self.requests: list[str] = []
        self._number, self._left, self._session = 0, b"", ""
        self._finished: set[str] = set()
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
        arguments += ["--hide-scrollbars", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        theirs, self._out = map(_high, os.pipe())
        self._in, ours = map(_high, os.pipe())
        # The protocol's pipes are the browser's descriptors 3 and 4.
        script = f'exec "$0" "$@" 3<&{theirs} 4>&{ours} {theirs}<&- {ours}>&-'
        self._process = subprocess.Popen(
            ["bash", "-c", script, str(PROGRAM), *arguments, "about:blank"],
            pass_fds=(theirs, ours),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs), os.close(ours)
        (target,) = [
            t["targetId"]
            for t in self.send("Target.getTargets")["targetInfos"]
            if t["type"] == "page"
        ]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: Any) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._out), os.close(self._in)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command's answer; what the page says meanwhile is noted."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") == self._number:
                assert "error" not in said, f"{method}: {said['error']}"
                return said["result"]

    def open(self, page: Path, width: int, height: int = 800, dark: bool = False) -> None:
        """Loads a file at a size in CSS pixels, in light or dark colors."""
        mobile = width < 600
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self._finished.clear()
        self.send("Page.navigate", url=page.resolve().as_uri())
        while "load" not in self._finished:
            self._next()

    def run(self, expression: str) -> Any:
        """What an expression of JavaScript is in the page."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def click(self, selector: str, number: int = 0) -> None:
        """A click of the mouse into the middle of an element."""
        x, y = self.run(
            f"(() => {{ const e = document.querySelectorAll({json.dumps(selector)})[{number}];"
            "e.scrollIntoView({block: 'center', inline: 'center'});"
            "const b = e.getBoundingClientRect();"
            "return [b.left + b.width / 2, b.top + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            where = {"x": x, "y": y, "button": "left", "clickCount": 1}
            self.send("Input.dispatchMouseEvent", type=kind, **where)

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """A picture of what is seen, or of the whole page."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _next(self) -> dict[str, Any]:
        """The next message."""
        end = time.monotonic() + _SECONDS
        while b"\0" not in self._left:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            part = os.read(self._in, 1 << 20) if ready else b""
            assert part, "Chromium does not answer"
            self._left += part
        text, _, self._left = self._left.partition(b"\0")
        said = json.loads(text)
        self._note(said.get("method"), said.get("params", {}))
        return said

    def _note(self, method: str | None, about: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._finished.add("load")
        elif method == "Runtime.exceptionThrown":
            self.problems.append(str(about["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled":
            self.problems.append(str(about["args"]))
        elif method == "Log.entryAdded":
            self.problems.append(about["entry"]["text"])
        elif method == "Page.javascriptDialogOpening":
            self.problems.append(f"dialog: {about['message']}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])


def _high(descriptor: int) -> int:
    """The same open file under a number that is out of the way of 3 and 4."""
    number = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return number
