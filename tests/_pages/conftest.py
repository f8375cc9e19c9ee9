"""A local stack with the simulator, a receiver of webhooks, and a browser that is watched.

`make pages` runs these tests in an environment of their own, and shows pictures of every page.
"""

import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import (
    APIRequestContext,
    Browser,
    BrowserContext,
    Page,
    expect,
    sync_playwright,
)

ROOT: Final = Path(__file__).parents[2]
COMMAND: Final = ROOT / ".venv/bin/longtake"
AXE: Final = ROOT / ".venv/pages/node_modules/axe-core/axe.min.js"
#: Where pictures of the pages are kept.
PICTURES: Final = ROOT / "var/pages"
#: Seconds in which the stack is up, and in which a page shows what has changed.
STARTS_WITHIN: Final = 180
SHOWS_WITHIN: Final = 60_000
#: Flower's login.
FLOWER_LOGIN: Final = ("operator", "a-password-of-tests")


expect.set_options(timeout=SHOWS_WITHIN)


@dataclass(slots=True)
class Receiver:
    """A receiver of webhooks, which refuses while it is told to."""

    url: str = ""
    status: int = 500
    bodies: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Where Longtake is, and its API with a key of the tenant default."""

    url: str
    #: Flower's address; it requires a login.
    flower: str
    env: dict[str, str]
    api: APIRequestContext

    def submit(self, prompt: str, **fields: object) -> str:
        body = {"prompt": prompt, "model": "runway-gen3", "duration_seconds": 5, **fields}
        answer = self.api.post("/v1/video/generations", data=body)
        assert answer.status == 202, answer.text()
        id_: str = answer.json()["id"]
        return id_

    def job(self, id_: str) -> dict[str, Any]:
        view: dict[str, Any] = self.api.get(f"/v1/video/generations/{id_}").json()
        return view

    def ended(self, id_: str) -> dict[str, Any]:
        """The job, once it is final."""
        until = time.monotonic() + 120
        while (view := self.job(id_))["status"] in {"pending", "processing"}:
            assert time.monotonic() < until, view
            time.sleep(0.2)
        return view

    def link(self, *options: str) -> str:
        """A link that signs in."""
        command = [str(COMMAND), "ui-link", "--tenant", "default", *options]
        made = subprocess.run(
            command, env=self.env, capture_output=True, encoding="utf-8", timeout=60, check=True
        )
        return made.stdout.strip()


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            made.bodies.append(json.loads(self.rfile.read(length)))
            self.send_response(made.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_address[1]}/hooks"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield made
        server.shutdown()


@pytest.fixture(scope="session")
def playing() -> Iterator[Any]:
    with sync_playwright() as made:
        yield made


@pytest.fixture(scope="session")
def stack(playing: Any) -> Iterator[Stack]:
    """The whole of Longtake on free ports, with the simulator behind it."""
    with tempfile.TemporaryDirectory(prefix="longtake-pages-") as folder:
        Path(folder).chmod(0o711)
        data = Path(folder) / "data"
        ports = dict.fromkeys(("API", "FLOWER", "SIM"), "0")
        env = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            **{f"LONGTAKE_{name}_PORT": port for name, port in ports.items()},
            "LONGTAKE_DATA_DIR": str(data),
            "FLOWER_BASIC_AUTH": ":".join(FLOWER_LOGIN),
        }
        with _running([str(COMMAND), "up", "--simulate"], env) as output:
            url = _told(output, r"API\s+(http://\S+)")
            key = (data / "dev-api-key").read_text().strip()
            headers = {"Authorization": f"Bearer {key}"}
            api = playing.request.new_context(base_url=url, extra_http_headers=headers)
            # Commands read the port from the stack's own file.
            of_commands = {**env, "LONGTAKE_PUBLIC_URL": url}
            flower = _told(output, r"Flower\s+(http://\S+)")
            yield Stack(url=url, flower=flower, env=of_commands, api=api)
            api.dispose()


def in_an_hour() -> str:
    """A start time for a job that must not end during a test, however slow that is."""
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


@contextmanager
def _running(command: list[str], env: dict[str, str]) -> Iterator[list[str]]:
    """The lines that it has printed; it is told to stop at the end."""
    lines: list[str] = []
    with subprocess.Popen(
        command,
        env=env,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    ) as process:
        reader = threading.Thread(target=lambda: lines.extend(process.stdout or ()), daemon=True)
        reader.start()
        try:
            yield lines
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=90)
            reader.join(timeout=10)


def _told(lines: list[str], pattern: str) -> str:
    until = time.monotonic() + STARTS_WITHIN
    while not (found := re.search(pattern, "".join(list(lines)))):
        assert time.monotonic() < until, "".join(lines)
        time.sleep(0.2)
    return found[1]


@pytest.fixture(scope="session")
def browser(playing: Any) -> Iterator[Browser]:
    path = os.environ.get("LONGTAKE_BROWSER") or "/usr/bin/chromium"
    made = playing.chromium.launch(
        executable_path=path,
        args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
    )
    yield made
    made.close()


#: Opens a signed-in page: options of the link, then of the browser's context.
Visit = Callable[..., Page]


@pytest.fixture
def complaints() -> list[str]:
    """What consoles have said; a test takes out what it meant them to say."""
    return []


@pytest.fixture
def visit(stack: Stack, browser: Browser, complaints: list[str]) -> Iterator[Visit]:
    """Signed-in pages; at the end none of them has complained of anything."""
    contexts: list[BrowserContext] = []

    def signed_in(*link: str, **options: Any) -> Page:
        context = browser.new_context(
            **{"viewport": {"width": 1440, "height": 900}, "base_url": stack.url, **options}
        )
        context.set_default_timeout(SHOWS_WITHIN)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda line: complaints.append(f"{line.type}: {line.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.goto(stack.link(*link))
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/ui/overview")
        return page

    yield signed_in
    for context in contexts:
        context.close()
    assert complaints == []


@dataclass(frozen=True, slots=True)
class Screen:
    """A window's width and colour scheme."""

    width: int
    scheme: str

    @property
    def options(self) -> dict[str, Any]:
        """Options of a browser context."""
        return {"viewport": {"width": self.width, "height": 900}, "color_scheme": self.scheme}

    def check(self, page: Page, name: str) -> None:
        """Keep a picture of the page and assert that it is accessible and fits the window."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        picture = PICTURES / f"{name}-{self.width}-{self.scheme}.png"
        page.screenshot(path=picture, full_page=True)
        assert violations(page) == [], name
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= self.width, f"{name} is {wide} wide"


@pytest.fixture(
    params=[Screen(width, scheme) for width in (1440, 390) for scheme in ("light", "dark")],
    ids=lambda screen: f"{screen.width}-{screen.scheme}",
)
def screen(request: pytest.FixtureRequest) -> Screen:
    given: Screen = request.param
    return given


def violations(page: Page) -> list[str]:
    """What axe finds wrong; it runs beside the page's own scripts, which the policy bounds."""
    session = page.context.new_cdp_session(page)
    session.send("Runtime.evaluate", {"expression": AXE.read_text()})
    expression = """axe.run(document, {resultTypes: ["violations"]}).then(found => JSON.stringify(
        found.violations.flatMap(each => each.nodes.map(
            node => each.id + ": " + node.html.slice(0, 200) + " " + node.failureSummary))))"""
    found = session.send("Runtime.evaluate", {"expression": expression, "awaitPromise": True})
    session.detach()
    told: list[str] = json.loads(found["result"]["value"])
    return told
