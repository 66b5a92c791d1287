"""A headless Chromium without a network, spoken to through a pipe by its DevTools protocol."""

import base64
import contextlib
import itertools
import json
import os
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

PROGRAMS = "chromium", "chromium-browser", "google-chrome"
WAIT = 120  # seconds for an answer
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--remote-debugging-pipe",
)
# Calls `done` after the next frame.
FRAME = "requestAnimationFrame(() => setTimeout(done))"
# Moves over tokens or over the matrix, each until it is painted.
HOVER = """async (count) => {
  const tokens = document.querySelectorAll("[role=listbox]")[0]?.children;
  const target = tokens ?? [document.querySelector(".panel svg")];
  const box = target[0].getBoundingClientRect();
  for (let i = 0; i < count; i++) {
    const [clientX, clientY] = [box.x + 0.3 * box.width + 7 * i, box.y + 0.4 * box.height + 5 * i];
    const place = { bubbles: true, clientX, clientY };
    const token = target[tokens ? Math.floor((i * target.length) / count) : 0];
    token.dispatchEvent(new PointerEvent(tokens ? "pointerover" : "pointermove", place));
    await new Promise((done) => FRAME);
  }
}""".replace("FRAME", FRAME)


@contextlib.contextmanager
def browser(folder: Path):
    """A page of a browser with its profile in a folder; skips the test where there is none."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(PROGRAMS)} is installed")
    (read, told), (heard, write) = os.pipe(), os.pipe()
    # The protocol has fixed descriptors: 3 is read and 4 is written to.
    words = [program, *OPTIONS, f"--user-data-dir={folder}", "about:blank"]
    shell = ["bash", "-c", f'exec "$0" "$@" 3<&{read} 4>&{write}', *words]
    process = subprocess.Popen(
        shell, pass_fds=(read, write), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(read)
    os.close(write)
    try:
        yield Page(told, heard)
    finally:
        process.kill()
        process.wait()
        os.close(told)


class Page:
    """The page of a browser."""

    def __init__(self, told: int, heard: int):
        self._told, self._numbers, self._answers = told, itertools.count(1), queue.Queue()
        self.events, self._session = [], None
        threading.Thread(target=self._listen, args=(heard,), daemon=True).start()
        target = self("Target.createTarget", url="about:blank")["targetId"]
        attached = self("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self(f"{domain}.enable")
        self("Performance.enable", timeDomain="threadTicks")
        self.size(1280, 900)

    def __call__(self, method: str, **params):
        """The result of a command."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._told, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._answers.get(timeout=WAIT)
            if answer["id"] == number:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]

    def open(self, path: Path) -> float:
        """Opens a file; seconds that the page computes until its first figure is painted."""
        self.events.clear()
        self("Page.navigate", url="about:blank")
        before = self._computed()
        self("Page.navigate", url=path.as_uri())
        self.until(lambda: self.run("window.attention !== undefined"))
        self.run(f"attention.ready.then(() => new Promise((done) => {FRAME}))")
        return self._computed() - before

    def _computed(self) -> float:
        """Seconds of processor time of the page's main thread, whatever else a machine does."""
        found = self("Performance.getMetrics")["metrics"]
        return next(each["value"] for each in found if each["name"] == "TaskDuration")

    def run(self, expression: str):
        """The value of an expression, or what it promises."""
        options = {"awaitPromise": True, "returnByValue": True}
        found = self("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def select(self, **changes):
        """Chooses what is shown."""
        self.run(f"attention.select({json.dumps(changes)})")

    def move(self, x: float, y: float) -> None:
        """Moves the pointer."""
        self("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def hover(self, count: int) -> float:
        """Seconds of computing for one move of the pointer over the figure, a mean of so many."""
        self.run("attention.drawn()")
        before = self._computed()
        self.run(f"({HOVER})({count})")
        return (self._computed() - before) / count

    def wait_for(self, path: Path) -> Path:
        """A file that the browser writes; until it is whole an empty one has its name."""
        self.until(lambda: path.exists() and path.stat().st_size > 0)
        return path

    def until(self, holds: Callable[[], bool]) -> None:
        """Waits until something holds."""
        deadline = time.monotonic() + WAIT
        while not holds():
            assert time.monotonic() < deadline, self.errors()
            time.sleep(0.02)

    def key(self, name: str, *, shift: bool = False) -> None:
        """Presses a key."""
        self("Input.dispatchKeyEvent", type="keyDown", key=name, modifiers=8 * shift)
        self("Input.dispatchKeyEvent", type="keyUp", key=name, modifiers=8 * shift)

    def size(self, width: int, height: int) -> None:
        """Sets the size of the window."""
        options = {"deviceScaleFactor": 1, "mobile": False}
        self("Emulation.setDeviceMetricsOverride", width=width, height=height, **options)

    def scheme(self, name: str) -> None:
        """Sets what the system prefers: light or dark."""
        feature = {"name": "prefers-color-scheme", "value": name}
        self("Emulation.setEmulatedMedia", features=[feature])
        if self.run("window.attention !== undefined"):
            theme = "document.documentElement.dataset.theme"
            self.until(lambda: self.run(theme) == name)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Writes what is seen as a PNG."""
        found = self("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self) -> bytes:
        """The page as it is printed."""
        options = {"preferCSSPageSize": True, "printBackground": True}
        return base64.b64decode(self("Page.printToPDF", **options)["data"])

    def requests(self) -> list[str]:
        """What was asked for since the page was opened."""
        sent = (e["params"] for e in self.events if e["method"] == "Network.requestWillBeSent")
        return [each["request"]["url"] for each in sent]

    def errors(self) -> list[str]:
        """Exceptions and messages of the browser, and dialogs, since the page was opened."""
        kinds = "Runtime.exceptionThrown", "Log.entryAdded", "Page.javascriptDialogOpening"
        return [json.dumps(event) for event in self.events if event["method"] in kinds]

    def _listen(self, heard: int) -> None:
        with os.fdopen(heard, "rb") as file:
            rest = b""
            while chunk := file.read1(1 << 16):
                *messages, rest = (rest + chunk).split(b"\0")
                for message in map(json.loads, messages):
                    if "id" in message:
                        self._answers.put(message)
                    else:
                        self.events.append(message)
