"""Doctor, for operators: every invariant is checked now, and what contradicts it is named."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.front import front_of, in_time
from api.native.listing import take_no_parameters
from api.pages.rendering import Entry, page
from api.pages.visits import ROOT, OperatorsRoute
from models.invariants import INVARIANTS, MOST, Violation
from tasks import doctor

ENTRY: Final = Entry(title="Doctor", path="doctor", is_operators=True)
#: Ids that are named of each kind.
_NAMED: Final = 20
#: More than the look itself may take, in seconds.
_ANSWERS_WITHIN: Final = doctor.WITHIN + 5


class LooksRoute(OperatorsRoute):
    """A route whose form changes nothing: sessions that only read may send it."""

    is_harmless = True


router = APIRouter(include_in_schema=False, route_class=LooksRoute)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The rows that contradict one sentence."""

    kind: str
    words: str
    ids: Sequence[str]
    #: How many there are; from MOST on there may be more.
    count: int


@router.get(f"{ROOT}/doctor")
async def show(request: Request) -> Response:
    """What will be checked; nothing is, before it is asked for."""
    take_no_parameters(request)
    return _page(request, examined=None)


@router.post(f"{ROOT}/doctor")
async def look(request: Request) -> Response:
    """Check every invariant, and answer with what was found."""
    examined = await in_time(
        doctor.examine_alone(front_of(request).engine), seconds=_ANSWERS_WITHIN
    )
    return _page(request, examined=examined)


def findings_of(violations: Sequence[Violation]) -> list[Finding]:
    """What was found, by kind."""
    found = []
    for (kind, words), group in groupby(violations, key=lambda each: (each.kind, each.words)):
        ids = [each.id for each in group]
        found.append(Finding(kind=kind, words=words, ids=ids[:_NAMED], count=len(ids)))
    return found


def _page(request: Request, *, examined: doctor.Examined | None) -> Response:
    return page(
        request,
        "doctor.html",
        title="Doctor",
        entry=ENTRY,
        examined=examined,
        findings=findings_of(examined.violations) if examined else [],
        invariants=INVARIANTS,
        most=MOST,
        within=doctor.WITHIN,
    )
