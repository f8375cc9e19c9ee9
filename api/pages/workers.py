"""Workers, for operators: the processes that answer, what waits in queues, and who holds what."""

from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.front import front_of, in_time
from api.native.listing import take_no_parameters
from api.pages.rendering import Entry, page
from api.pages.visits import ROOT, OperatorsRoute
from tasks.queues import Queue
from tasks.workers import Roll, read_held

ENTRY: Final = Entry(title="Workers", path="workers", is_operators=True)
#: Names under which Flower of the local stack can be linked to.
_LOCAL: Final = frozenset({"127.0.0.1", "localhost", "::1"})

router = APIRouter(include_in_schema=False, route_class=OperatorsRoute)


@router.get(f"{ROOT}/workers")
async def show(request: Request) -> Response:
    """Who answers now; the same answer for some seconds, however often it is asked for."""
    take_no_parameters(request)
    front = front_of(request)
    held = await in_time(read_held(front.engine))
    roll = await front.roll_call.latest()
    host, port = request.url.hostname or "", front.engine.settings.flower_port
    return page(
        request,
        "workers.html",
        title="Workers",
        entry=ENTRY,
        held=held,
        roll=roll,
        unserved=unserved_in(roll) if roll else [],
        revision=front.revision,
        flower=f"http://{host}:{port}" if host in _LOCAL and port else None,
    )


def unserved_in(roll: Roll) -> list[str]:
    """Queues that no worker takes messages from, if any worker answered."""
    served = {queue for worker in roll.workers for queue in worker.queues}
    return [str(queue) for queue in Queue if queue.value not in served] if roll.workers else []
