"""The usual poll: one GET per operation; 404 means that it does not exist."""

from collections.abc import Callable, Mapping, Sequence

from providers.base import NOT_FOUND, Call, Flow, Update

_ACCEPTED = frozenset({NOT_FOUND})


def get_each(
    operation_ids: Sequence[str],
    *,
    path: Callable[[str], str],
    read: Callable[[object], Update],
) -> Flow[Mapping[str, Update]]:
    """GET each operation's path and parse its JSON; operations not found are omitted.

    Providers that poll differently, or need more than the JSON body, write their own loop.
    """
    updates = {}
    for operation_id in operation_ids:
        call = Call(method="GET", path=path(operation_id), accept=_ACCEPTED)
        response = yield call
        if response.status != NOT_FOUND:
            updates[operation_id] = read(response.json())
    return updates
