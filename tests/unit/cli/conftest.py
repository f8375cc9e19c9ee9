"""A scripted API on loopback, and the command run against it."""

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cli.main import main
from tests.unit.cli.scripted import Asked, Ended, FakeApi, Run


@pytest.fixture
def api() -> Iterator[FakeApi]:
    fake = FakeApi()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(length)) if length else None
            fake.asked.append(Asked(self.command, self.path, dict(self.headers), body))
            status, answer = fake.next()
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_DELETE = do_GET  # noqa: N815 - the standard library's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        fake.url = f"http://127.0.0.1:{server.server_address[1]}"
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield fake
        server.shutdown()
        serving.join(5)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command as a process would run it, with no stack of its own in sight."""
    monkeypatch.setenv("LONGTAKE_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("LONGTAKE_API_URL", raising=False)
    monkeypatch.delenv("LONGTAKE_API_KEY", raising=False)
    monkeypatch.setattr("cli.api.RETRY_DELAY", 0)
    monkeypatch.setattr("cli.waiting.LOOK", 0.01)

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["longtake", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return Ended(int(end.value.code or 0), said.out, said.err)

    return run
