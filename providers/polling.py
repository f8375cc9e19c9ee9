"""The usual polls: one GET for each operation, where 404 means that it is absent; a listing."""

from collections.abc import Callable, Collection, Mapping, Sequence

from providers import answers
from providers.base import NOT_FOUND, Call, Flow, Update

#: Operations of which a listing must tell for its cost: a page of a hundred takes about as much to
#: send and to read as so many single answers.
PAYS = 5
#: Pages of a listing that are read at a time.
MOST_PAGES = 10
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


def read_listing(
    wanted: Collection[str],
    *,
    first: Call,
    entries: Callable[[object], Sequence[object]],
    read: Callable[[object], Update],
    following: Callable[[object], Call | None],
) -> Flow[Mapping[str, Update]]:
    """The updates of those that a listing shows, page by page, as long as each page pays.

    An entry that can't be read is left out: polled alone, it says why. `following` is the call of
    the page after one, None if that is the last.
    """
    left, updates = set(wanted), dict[str, Update]()
    call: Call | None = first
    for _ in range(MOST_PAGES):
        if call is None:
            break
        page = (yield call).json()
        before = len(left)
        for entry in entries(page):
            id_ = answers.optional(entry, "id")
            if isinstance(id_, str) and id_ in left:
                left.discard(id_)
                try:
                    updates[id_] = read(entry)
                except (answers.Undocumented, answers.UnknownStatus):
                    continue
        if min(before - len(left), len(left)) < PAYS:
            break
        call = following(page)
    return updates
