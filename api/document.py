"""/openapi.json: encoded once, since that takes longer than all else of an answer to anybody."""

import hashlib
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from api.answers import encode
from api.native.ranges import names_etag


class Document:
    """What never changes while a process runs: its bytes, and their tag."""

    def __init__(self, value: Any) -> None:
        self._body = encode(value)
        self._etag = f'"{hashlib.sha256(self._body).hexdigest()[:32]}"'

    def answer(self, if_none_match: str | None) -> Response:
        """The document, or 304 to who has it."""
        headers = {"ETag": self._etag}
        if names_etag(if_none_match, self._etag):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(self._body, headers=headers, media_type="application/json")
