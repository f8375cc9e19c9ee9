"""Requests made from /openapi.json, valid and not: every answer is one that it documents.

Schemathesis makes the requests; each goes to the application in this process.
"""

from typing import Any, Final

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode

from api.app import create_app
from settings import load
from tests.integration.api.conftest import ENVIRONMENT, Api, Hints
from tests.integration.api.shapes import Operation

pytestmark = pytest.mark.anyio
_NOWHERE: Final = {"LONGTAKE_DATABASE_URL": "postgresql://127.0.0.1:9/none"}
#: It is made without a connection.
DOCUMENT: Final[dict[str, Any]] = create_app(load(ENVIRONMENT | _NOWHERE), hinter=Hints).openapi()
_FOUND: Any = schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()
OPERATIONS: Final = {operation.label: operation for operation in (each.ok() for each in _FOUND)}
#: The router's own errors, which no operation lists.
OF_THE_ROUTER: Final = {404, 405}


def _cases(label: str) -> list[Any]:
    """Requests of one operation, the same in each run."""
    strategies = (OPERATIONS[label].as_strategy(mode) for mode in GenerationMode)
    made = []

    @hypothesis.given(case=st.one_of(*strategies))
    @hypothesis.settings(
        max_examples=10,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    def make(case: Any) -> None:
        made.append(case)

    make()
    return made


def test_every_dialect_is_among_the_operations() -> None:
    tags = {tag for each in OPERATIONS.values() for tag in each.tags or ()}
    assert tags >= {"Video generations", "Perf", "AI/ML API"}


@pytest.mark.parametrize("label", OPERATIONS)
async def test_every_answer_is_a_documented_one(api: Api, label: str) -> None:
    cases = _cases(label)
    assert cases
    for case in cases:
        told = case.operation.definition.raw
        operation = Operation(case.method, case.path, told, DOCUMENT["components"])
        asked: Any = requests.Request(**case.as_transport_kwargs("http://api.test")).prepare()
        asked.headers["Authorization"] = f"Bearer {api.key}"

        answer = await api.http.request(
            case.method, asked.url, content=asked.body or b"", headers=dict(asked.headers)
        )

        documented = {int(status) for status in told["responses"]} | OF_THE_ROUTER
        shown = f"{case.as_curl_command()}: {answer.status_code} {answer.text}"
        assert answer.status_code in documented, shown
        if answer.headers.get("Content-Type") == "application/json":
            operation.check(answer.status_code, answer.json())
