"""The usual poll: one GET for each operation, where 404 says that there is no such one."""

from collections.abc import Callable, Mapping, Sequence

from providers.base import NOT_FOUND, Call, Flow, Update


def get_each(
    operation_ids: Sequence[str],
    *,
    path: Callable[[str], str],
    read: Callable[[object], Update],
) -> Flow[Mapping[str, Update]]:
    """Ask at every operation's own path and read its JSON; what is not found is missing.

    Whoever asks otherwise, or reads more than the answer's JSON, has a loop of its own.
    """
    updates = {}
    for operation_id in operation_ids:
        call = Call(method="GET", path=path(operation_id), accept=frozenset({NOT_FOUND}))
        response = yield call
        if response.status != NOT_FOUND:
            updates[operation_id] = read(response.json())
    return updates
