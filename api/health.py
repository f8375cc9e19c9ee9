"""Liveness and readiness of this process."""

from fastapi import APIRouter
from psycopg import errors
from starlette.requests import Request
from starlette.responses import Response

from api.answers import answer
from api.errors import unavailable
from api.front import Front, front_of, in_time
from api.native.schemas import Health
from api.openapi import failures
from models.database import DatabaseAway
from models.failure import RequestRefused

router = APIRouter(tags=["Health"])

#: Timeout of the database check, in seconds.
_ANSWERS_WITHIN = 2.0


@router.get(
    "/healthz",
    summary="Is the process up?",
    responses={200: {"model": Health, "description": "Up"}},
)
async def healthz() -> Response:
    """Responds while the process runs; checks nothing else."""
    return answer({"status": "ok"})


@router.get(
    "/readyz",
    summary="Should it get traffic?",
    responses={200: {"model": Health, "description": "Yes"}, 503: failures()[503]},
)
async def readyz(request: Request) -> Response:
    """503 while draining, while the database is unavailable or its schema is outdated."""
    front = front_of(request)
    if front.is_draining:
        msg = "this process was told to stop and is draining"
        raise unavailable(msg, code="draining")
    try:
        revision = await in_time(_revision(front), seconds=_ANSWERS_WITHIN)
    except DatabaseAway as error:
        msg = "the database is unavailable"
        raise unavailable(msg, code="database_away", retry_after=1) from error
    # A newer revision is fine: versions run side by side during a rollout.
    if revision is None or revision < front.revision:
        raise _behind(revision, front.revision)
    return answer({"status": "ready"})


async def _revision(front: Front) -> str | None:
    """The database's migration; revisions are numbers, so they sort as text."""
    try:
        rows = await front.engine.database.fetch("SELECT version_num FROM alembic_version")
    except errors.UndefinedTable:
        return None
    return str(rows[0]["version_num"]) if rows else None


def _behind(revision: str | None, wanted: str) -> RequestRefused:
    return unavailable(
        f"the database's schema is at {revision or 'nothing'}, and this code needs {wanted}: "
        "run the migrations",
        code="migrations_behind",
    )
