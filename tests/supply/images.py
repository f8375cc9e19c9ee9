"""Pins the images of the Compose files and the Dockerfile to their digests: `make pin-images`.

Where the registry does not answer, the files stay as they are, and the command fails.
"""

import re
import sys
from pathlib import Path

import httpx

from tests.supply.lock import ROOT

REGISTRY = "https://registry-1.docker.io"
#: An index names one image for each platform; the digest of a single one would bind us to it.
_ACCEPT = (
    "application/vnd.oci.image.index.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_IMAGE = re.compile(
    r"^(    image: )([a-z0-9./-]+):([\w.-]+)(?:@sha256:[0-9a-f]{64})?$", re.MULTILINE
)
_PYTHON = re.compile(r"^ARG PYTHON=(\S+)$", re.MULTILINE)
_BASE_DIGEST = re.compile(r"^ARG DIGEST=.*$", re.MULTILINE)
#: The variant of the Dockerfile's base image.
_BASE = ("python", "{}-slim-bookworm")
_TIMEOUT = 20.0
COMPOSE = ("docker-compose.yml", "docker-compose.observe.yml")


class NotPinned(Exception):
    """The registry gave no digest; the message says why."""


def digest(client: httpx.Client, name: str, tag: str) -> str:
    """The digest of an image's index; raises NotPinned."""
    name = name if "/" in name else f"library/{name}"
    headers = {"Accept": _ACCEPT}
    try:
        answer = client.head(f"/v2/{name}/manifests/{tag}", headers=headers)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            token = _token(client, answer.headers.get("WWW-Authenticate", ""))
            headers["Authorization"] = f"Bearer {token}"
            answer = client.head(f"/v2/{name}/manifests/{tag}", headers=headers)
    except httpx.HTTPError as error:
        raise NotPinned(f"{name}:{tag}: {type(error).__name__}: {error}") from error
    found = answer.headers.get("Docker-Content-Digest", "")
    if not answer.is_success or not _DIGEST.fullmatch(found):
        raise NotPinned(f"{name}:{tag}: HTTP {answer.status_code}, digest {found[:80]!r}")
    return str(found)


def _token(client: httpx.Client, challenge: str) -> str:
    """A token for whoever asks, as the registry's challenge says."""
    fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
    if not challenge.startswith("Bearer ") or "realm" not in fields:
        raise NotPinned(f"an unknown challenge: {challenge[:80]!r}")
    answer = client.get(fields.pop("realm"), params=fields)
    try:
        return str(answer.raise_for_status().json()["token"])
    except (ValueError, KeyError, TypeError) as error:
        raise NotPinned("the registry's token service gave no token") from error


def pin(folder: Path = ROOT, registry: str = REGISTRY) -> list[str]:
    """Write the digests into all files, or into none; returns what was pinned."""
    composes, docker = [folder / name for name in COMPOSE], folder / "Dockerfile"
    base = docker.read_text()
    pinned: list[str] = []
    with httpx.Client(base_url=registry, timeout=_TIMEOUT, trust_env=False) as client:

        def with_digest(found: re.Match[str]) -> str:
            start, name, tag = found.groups()
            if name == "longtake":
                return found[0]  # built here
            pinned.append(f"{name}:{tag}@{digest(client, name, tag)}")
            return f"{start}{pinned[-1]}"

        after = [_IMAGE.sub(with_digest, each.read_text()) for each in composes]
        (python,) = _PYTHON.findall(base)
        name, tag = _BASE[0], _BASE[1].format(python)
        of_base = digest(client, name, tag)
        pinned.append(f"{name}:{tag}@{of_base}")
    for compose, text in zip(composes, after, strict=True):
        compose.write_text(text)
    docker.write_text(_BASE_DIGEST.sub(f"ARG DIGEST=@{of_base}", base))
    return pinned


if __name__ == "__main__":
    try:
        print("\n".join(pin()))  # noqa: T201 - a command
    except NotPinned as why:
        sys.exit(f"not pinned: {why}")
