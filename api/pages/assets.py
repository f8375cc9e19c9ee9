"""The pages' own files: styles, scripts and what of others is kept beside them."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.pages.visits import ROOT
from models.failure import not_found

FOLDER: Final = Path(__file__).parent / "static"
_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file as it is sent."""

    content: bytes = field(repr=False)
    media_type: str
    #: Changes with the content.
    version: str


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    version = hashlib.sha256(content).hexdigest()[:12]
    return Asset(content=content, media_type=_TYPES[path.suffix], version=version)


ASSETS: Final = {path.name: _read(path) for path in FOLDER.iterdir() if path.suffix in _TYPES}


@router.get(f"{ROOT}/static/{{name}}")
async def asset(request: Request, name: str) -> Response:
    """One of the files; under the address that pages name it stays the same for ever."""
    found = ASSETS.get(name)
    if found is None:
        raise not_found("File")
    etag = f'"{found.version}"'
    is_named = request.query_params.get("v") == found.version
    headers = {
        "ETag": etag,
        "Cache-Control": "public, max-age=31536000, immutable" if is_named else "no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    if request.headers.get("if-none-match") == etag:
        return Response(None, 304, headers=headers)
    return Response(found.content, headers=headers, media_type=found.media_type)
