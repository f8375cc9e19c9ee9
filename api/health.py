"""Whether this process is up, and whether it should be sent traffic."""

from fastapi import APIRouter
from psycopg import errors
from starlette.requests import Request
from starlette.responses import Response

from api.answers import answer
from api.errors import unavailable
from api.front import Front, front_of, in_time
from api.openapi import failures
from api.schemas import Health
from models.database import DatabaseAway
from models.failure import RequestRefused

router = APIRouter(tags=["Health"])

#: Seconds in which the database must answer.
_ANSWERS_WITHIN = 2.0


@router.get(
    "/healthz",
    summary="Is the process up?",
    responses={200: {"model": Health, "description": "Up"}},
)
async def healthz() -> Response:
    """Answers as long as the process does; asks nobody else."""
    return answer({"status": "ok"})


@router.get(
    "/readyz",
    summary="Should it get traffic?",
    responses={200: {"model": Health, "description": "Yes"}, 503: failures()[503]},
)
async def readyz(request: Request) -> Response:
    """503 while draining, while the database is away or while its schema is older than the code."""
    front = front_of(request)
    if front.is_draining:
        msg = "this process was told to stop and finishes what it has"
        raise unavailable(msg, code="draining")
    try:
        revision = await in_time(_revision(front), seconds=_ANSWERS_WITHIN)
    except DatabaseAway as error:
        msg = "the database does not answer"
        raise unavailable(msg, code="database_away", retry_after=1) from error
    # A newer revision is fine: versions run side by side while they are exchanged.
    if revision is None or revision < front.revision:
        raise _behind(revision, front.revision)
    return answer({"status": "ready"})


async def _revision(front: Front) -> str | None:
    """The migration that the database is at; our revisions are numbers, so they sort as text."""
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
