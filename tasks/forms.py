"""Messages that take requests: their tasks, their arguments, and which names of them may be shown.

Beat and Flower load it with the app, so it imports nothing that they do without.
"""

import re
from dataclasses import dataclass

#: Arguments that replace an unreadable message's body, and the largest body kept, in bytes.
UNREADABLE, RAW = "_unreadable", "_raw"
MOST_KEPT = 2**20
#: Names that are safe to show.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A task that takes requests, and its arguments."""

    task: str
    #: In the order in which they may be given without names; the first is required.
    parameters: tuple[str, ...]
    #: The parameter with the id of what the letter makes.
    id: str
    #: The parameters that `sealed` holds instead.
    sealed: frozenset[str]
    #: Largest body of a message, in bytes.
    most_bytes: int


#: A job; as large as a request over HTTP.
ENQUEUE = Form(
    task="video.enqueue",
    parameters=("request", "job_id", "tenant", "sealed"),
    id="job_id",
    sealed=frozenset({"request"}),
    most_bytes=25 * 2**20,
)
#: A batch, which is known by its id alone: `batch_id` is required.
ENQUEUE_BATCH = Form(
    task="video.enqueue_batch",
    parameters=("requests", "batch_id", "options", "tenant", "sealed"),
    id="batch_id",
    sealed=frozenset({"requests", "options"}),
    most_bytes=2**20,
)
FORMS = {form.task: form for form in (ENQUEUE, ENQUEUE_BATCH)}


def is_name(value: object) -> bool:
    """Whether a value is safe to show in a log and to store in a row."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None
