"""docs/api.md names every route of our own API, its parameters, and every type of error."""

import json
import re
from pathlib import Path

from api.app import create_app
from api.connections import _TIMEOUT
from api.errors import STATUS
from settings import Settings

DOCUMENT = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
ROUTE = re.compile(r"^\| `([A-Z]+ /[^`]*)` \|[^|]*\|([^|]*)\|$", re.MULTILINE)
ERROR = re.compile(r"^\| (\d{3}) \| `(\w+)` \|", re.MULTILINE)


def test_the_document_has_every_route_with_its_parameters() -> None:
    told = {
        route: re.findall(r"`([^`]+)`", re.sub(r"\([^)]*\)", "", parameters))
        for route, parameters in ROUTE.findall(DOCUMENT)
    }

    served = {
        f"{method.upper()} {re.sub(r'{(?!index)[a-z_]+}', '{id}', path)}": [
            each["name"] for each in route.get("parameters", []) if each["in"] == "query"
        ]
        for path, methods in create_app(Settings(), dialects=()).openapi()["paths"].items()
        for method, route in methods.items()
    }

    assert told == served


def test_the_document_has_every_type_of_error_with_its_status() -> None:
    told = {(kind, int(status)) for status, kind in ERROR.findall(DOCUMENT)}

    # Connections answer slow requests before the application sees them.
    _, _, too_slow = _TIMEOUT.partition(b"\r\n\r\n")
    slow = (json.loads(too_slow)["error"]["type"], int(_TIMEOUT.split()[1]))
    assert told == {(kind, int(status)) for kind, status in STATUS.items()} | {slow}
