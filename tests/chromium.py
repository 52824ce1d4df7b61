"""Headless Chromium as a user drives it: chromedriver's WebDriver protocol, spoken directly."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hpc.distributed.connection import free_port
from tests.conftest import SEARCH_PATH

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1300,1000",
)
# The private characters by which WebDriver names keys that write nothing.
KEYS = {"Tab": "\ue004", "Space": " ", "Left": "\ue012", "Right": "\ue014", "End": "\ue010"}
KEYS["Home"] = "\ue011"
PATIENCE_SECONDS = 600.0  # for a machine that does much else


class Browser:
    """One open window."""

    def __init__(self, session: str) -> None:
        self.session = session

    def open(self, address: str) -> None:
        call(f"{self.session}/url", {"url": address})

    def run(self, script: str) -> Any:
        """What a script returns in the page."""
        return call(f"{self.session}/execute/sync", {"script": script, "args": []})

    def press(self, *keys: str) -> None:
        """Press and release keys, in whatever has the focus."""
        strokes = [
            {"type": kind, "value": KEYS[key]} for key in keys for kind in ("keyDown", "keyUp")
        ]
        actions = [{"type": "key", "id": "keyboard", "actions": strokes}]
        call(f"{self.session}/actions", {"actions": actions})

    def wait(self, script: str) -> None:
        """Return when the script returns something true."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.run(script):
            assert time.monotonic() < deadline, f"never true: {script}"
            time.sleep(0.1)

    def take_picture(self, name: str) -> None:
        """A screenshot as NAME.png in $SCREENSHOTS, if set."""
        if folder := os.environ.get("SCREENSHOTS"):
            picture = base64.b64decode(call(f"{self.session}/screenshot"))
            (Path(folder) / f"{name}.png").write_bytes(picture)


@contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    """A browser with its profile in the folder, closed at the end."""
    port = free_port()
    driver = subprocess.Popen(
        ["chromedriver", f"--port={port}"],
        env={**os.environ, "PATH": SEARCH_PATH},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(address)
        options = {"args": [*FLAGS, f"--user-data-dir={folder}"]}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        session = f"{address}/session/{call(f'{address}/session', wanted)['sessionId']}"
        try:
            yield Browser(session)
        finally:
            call(session, method="DELETE")
    finally:
        driver.kill()  # its browser has been closed
        driver.wait()


def wait_for(address: str) -> None:
    """Return when chromedriver answers."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            if call(f"{address}/status")["ready"]:
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise TimeoutError("chromedriver did not start")


def call(address: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
    """The value that chromedriver answers."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, content, method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
        return json.load(answer)["value"]
