"""A real browser for the tests: Chromium without a window, driven over its debugging pipe."""

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--mute-audio", "--disable-dev-shm-usage"),
)


def find_browser() -> str | None:
    """Path of a Chromium, from MBHSEG_CHROMIUM or the usual names; None if there is none."""
    named = os.environ.get("MBHSEG_CHROMIUM")
    return named or next((path for name in _NAMES if (path := shutil.which(name))), None)


class Tab:
    """One page in a browser of its own. Errors, console errors and requests are kept."""

    def __init__(self, program: str, width: int = 1280, height: int = 1000) -> None:
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._profile = tempfile.mkdtemp(prefix="browser-")
        to_browser, from_browser = os.pipe(), os.pipe()

        def wire() -> None:  # the pipe's ends are descriptors 3 and 4 in the browser
            read, write = os.dup(to_browser[0]), os.dup(from_browser[1])
            os.dup2(read, 3)
            os.dup2(write, 4)

        command = [program, *_OPTIONS, "--remote-debugging-pipe"]
        self._process = subprocess.Popen(
            [*command, f"--user-data-dir={self._profile}", "about:blank"],
            preexec_fn=wire,
            pass_fds=(3, 4),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(to_browser[0])
        os.close(from_browser[1])
        self._write, self._read = to_browser[1], from_browser[0]
        self._buffer, self._number, self._session = b"", 0, None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.resize(width, height)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._write)
        os.close(self._read)
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        for answer in self._messages():
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
        raise RuntimeError("the browser is gone")

    def _messages(self) -> Iterator[dict[str, Any]]:
        while True:
            while b"\0" not in self._buffer:
                chunk = os.read(self._read, 1 << 20)
                if not chunk:
                    return
                self._buffer += chunk
            data, self._buffer = self._buffer.split(b"\0", 1)
            message = json.loads(data)
            self._note(message.get("method"), message.get("params", {}))
            yield message

    def _note(self, event: str | None, what: dict[str, Any]) -> None:
        if event == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(what["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and what["type"] in ("error", "warning"):
            self.errors.append(json.dumps(what["args"]))
        elif event == "Log.entryAdded" and what["entry"]["level"] == "error":
            self.errors.append(json.dumps(what["entry"]))
        elif event == "Network.requestWillBeSent":
            self.requests.append(what["request"]["url"])

    def resize(self, width: int, height: int, mobile: bool = False) -> None:
        """Set the size of the window in CSS pixels."""
        size = {"width": width, "height": height}
        self.call("Emulation.setDeviceMetricsOverride", **size, deviceScaleFactor=1, mobile=mobile)

    def open(self, path: Path, fragment: str = "") -> None:
        """Open a file of the file system and wait until it is loaded."""
        url = path.resolve().as_uri() + (f"#{fragment}" if fragment else "")
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.protocol === 'file:'")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; promises are waited for."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def until(self, condition: str, seconds: float = 20) -> None:
        """Wait until a JavaScript condition holds."""
        end = time.monotonic() + seconds
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > end:
                raise TimeoutError(f"{condition}; {self.errors}")
            time.sleep(0.02)

    def press(self, key: str) -> None:
        """Press and release a key on what has the focus."""
        more: dict[str, Any] = {"text": key} if len(key) == 1 else {}
        if key == "Enter":
            more = {"text": "\r", "windowsVirtualKeyCode": 13}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **more)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, **more)

    def box(self, selector: str) -> dict[str, float]:
        """x, y, width and height of an element, after it is scrolled into view."""
        return self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
            "return {x: b.x, y: b.y, width: b.width, height: b.height}; })()"
        )

    def click(self, selector: str) -> None:
        """Click the middle of an element with the mouse."""
        box = self.box(selector)
        where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **where)

    def wheel(self, selector: str, down: float) -> None:
        """Turn the mouse wheel over an element, `down` in CSS pixels."""
        box = self.box(selector)
        where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        self.call("Input.dispatchMouseEvent", type="mouseWheel", deltaX=0, deltaY=down, **where)

    def screenshot(self, selector: str | None = None) -> bytes:
        """A PNG of the window or of an element."""
        clip: dict[str, Any] = {}
        if selector:
            box = self.box(selector)
            top, left = self.run("[scrollY, scrollX]")
            box = {**box, "x": box["x"] + left, "y": box["y"] + top, "scale": 1}
            clip = {"clip": box, "captureBeyondViewport": True}
        return base64.b64decode(self.call("Page.captureScreenshot", format="png", **clip)["data"])
