"""What pages reach of the API: each operation by a page, or with a reason why not; nothing more.

A new operation, and a new form, fail here until somebody has said where they belong.
"""

from collections.abc import Iterator

import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from api.dialects import DIALECTS
from api.pages.registry import ROUTERS
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.anyio

JOBS = "/v1/video/generations"
#: Operations of the API, and the page that does the same by the same use case.
REACHED = {
    f"GET {JOBS}": "GET /ui/jobs",
    f"GET {JOBS}/{{job_id}}": "GET /ui/jobs/{job_id}",
    f"GET {JOBS}/{{job_id}}/events": "GET /ui/live",
    f"GET {JOBS}/{{job_id}}/content": "GET /ui/jobs/{job_id}/videos/{position}",
    f"GET {JOBS}/{{job_id}}/content/{{index}}": "GET /ui/jobs/{job_id}/videos/{position}",
    f"GET {JOBS}/{{job_id}}/poster/{{index}}": "GET /ui/jobs/{job_id}/videos/{position}/poster",
    f"GET {JOBS}/{{job_id}}/sheet/{{index}}": "GET /ui/jobs/{job_id}/videos/{position}/sheet",
    f"POST {JOBS}/{{job_id}}/cancel": "POST /ui/jobs/{job_id}/cancel",
    f"POST {JOBS}/{{job_id}}/retry": "POST /ui/jobs/{job_id}/retry",
    f"DELETE {JOBS}/{{job_id}}": "POST /ui/jobs/{job_id}/delete",
    "GET /v1/webhooks/deliveries": "GET /ui/webhooks",
    "POST /v1/webhooks/deliveries/{delivery_id}/replay": "POST /ui/webhooks/{delivery_id}/replay",
    "POST /v1/gates": "POST /ui/gates",
    "GET /v1/gates": "GET /ui/gates",
    "GET /v1/gates/{gate}": "GET /ui/gates/{gate}",
    "PUT /v1/gates/{gate}": "POST /ui/gates/{gate}",
    "DELETE /v1/gates/{gate}": "POST /ui/gates/{gate}/delete",
    "GET /v1/intake/failed": "GET /ui/letters",
    "POST /v1/intake/failed/{letter_id}/retry": "POST /ui/letters/{letter_id}/retry",
    "GET /v1/models": "GET /ui/models",
    "GET /v1/usage": "GET /ui/usage",
    "GET /v1/batches": "GET /ui/batches",
    "GET /v1/batches/{batch_id}": "GET /ui/batches/{batch_id}",
    "POST /v1/batches/{batch_id}/cancel": "POST /ui/batches/{batch_id}/cancel",
    "POST /v1/batches/{batch_id}/retry": "POST /ui/batches/{batch_id}/retry",
    "GET /v1/batches/{batch_id}/results": "GET /ui/batches/{batch_id}/results",
    "GET /v1/batches/{batch_id}/events": "GET /ui/live",
    "GET /v1/ops/lanes": "GET /ui/overview",
    "GET /v1/ops/providers": "GET /ui/providers",
    "POST /v1/ops/providers/{account}/pause": "POST /ui/providers/{account}/pause",
    "POST /v1/ops/providers/{account}/resume": "POST /ui/providers/{account}/resume",
    "PUT /v1/ops/providers/{account}/cap": "POST /ui/providers/{account}/cap",
    "DELETE /v1/ops/providers/{account}/cap": "POST /ui/providers/{account}/cap/delete",
}
#: Operations without a page, and why.
LEFT_OUT = {
    f"POST {JOBS}": "a program's work; a job's page has its request as a program sends it",
    "POST /v1/batches": "a program's or the command line's work: a file of up to 200 MB",
    "GET /v1/intake/key": "for programs that seal letters",
    "GET /healthz": "for machines",
    "GET /readyz": "for machines",
    "GET /metrics": "for machines; the overview shows what people need of it",
}
#: Forms that are of the pages alone: the session, and what asks before several jobs change by the
#: operations above.
OWN = {
    "POST /ui/in/{link}",
    "POST /ui/out",
    "POST /ui/jobs/confirm",
    "POST /ui/jobs/carry-out",
    "POST /ui/doctor",  # it changes nothing
    "POST /ui/jobs/{job_id}/deliveries/{delivery_id}/replay",
}


def _pages() -> Iterator[str]:
    for router in ROUTERS:
        for context in iter_route_contexts(router.routes):
            assert isinstance(context, APIRoute) or context.methods
            for method in context.methods or ():
                yield f"{method} {context.path}"


async def test_every_operation_is_reached_or_left_out_with_a_reason(api: Api) -> None:
    dialects = tuple(f"{prefix}/" for each in DIALECTS for prefix in each.prefixes)
    operations = {
        f"{method.upper()} {path}"
        for path, methods in api.app.openapi()["paths"].items()
        if not f"{path}/".startswith(dialects)
        for method in methods
    }

    assert REACHED.keys() | LEFT_OUT.keys() == operations
    assert not REACHED.keys() & LEFT_OUT.keys()
    assert all(LEFT_OUT.values())


async def test_no_form_does_what_the_api_does_not() -> None:
    pages = set(_pages())

    assert set(REACHED.values()) <= pages
    forms = {each for each in pages if not each.startswith("GET ")}
    assert forms == {each for each in REACHED.values() if each.startswith("POST ")} | OWN
