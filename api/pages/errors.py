"""Errors below `/ui`, as pages."""

from http import HTTPStatus
from typing import Final

from starlette.responses import Response

from api.errors import STATUS
from api.pages.rendering import html
from models.failure import RequestRefused

#: Refusals of the pages' own, whose status their type does not tell.
_OWN: Final = {
    "read_only": HTTPStatus.FORBIDDEN,
    "foreign_form": HTTPStatus.FORBIDDEN,
    "operators_only": HTTPStatus.FORBIDDEN,
}
_SIGN_IN: Final = "signed_out"


class PageErrors:
    """Renders a refusal as a page without navigation: nobody need be signed in."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def render(self, refusal: RequestRefused, *, request_id: str | None) -> Response:
        status = _OWN.get(refusal.code, STATUS[refusal.type])
        template = "signed_out.html" if refusal.code == _SIGN_IN else "error.html"
        return html(
            template,
            status=int(status),
            prefix=self._prefix,
            title=status.phrase,
            refusal=refusal,
            code=int(status),
            request_id=request_id,
        )
