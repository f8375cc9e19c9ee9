"""A table of one vendor's answers: what its documents and its SDK say that it may answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from models.failure import Fault
from models.scene import Scene
from providers.base import Ask, Phase, Video

ID = "17f20503-6c24-4c16-946b-35dbbce2af2f"
LINK = "https://cdn.example.com/v.mp4?sig=a%2Bb&x=%7e"
MADE = Video(url=LINK)
ASK = Ask(
    attempt_id="a1",
    marker="m1",
    upstream="m",
    scene=Scene(prompt="a lighthouse keeper sings to the storm"),
    duration_seconds=5,
    resolution="720p",
    aspect_ratio="16:9",
    width=1280,
    height=720,
)


def itself(answer: dict[str, Any]) -> dict[str, Any]:
    return answer


@dataclass(frozen=True)
class Documented:
    """One vendor's answers, as its documents and SDK have them."""

    #: Every status word that the SDK's types, or the documents, know, and what it must come to.
    words: Mapping[str, Phase]
    words_of_sdk: frozenset[str]
    #: The answer to a poll with that word.
    answer: Callable[[str], dict[str, Any]]
    #: Fields without which the answer with that word can't be used.
    needed: Mapping[str, tuple[str, ...]]
    #: Every failure code, or one of each family, and what it must come to.
    faults: Mapping[str | None, Fault]
    failed: Callable[[str | None], dict[str, Any]]
    #: Documented statuses of the paid POST; and those that prove that it was not accepted.
    errors: Mapping[int, Fault]
    refusals: frozenset[int]
    error: Callable[[str], dict[str, Any]]
    accepted: dict[str, Any]
    #: The answer to a poll that succeeded with that result, in place of a usable one; None where
    #: no answer carries a result, since the video is asked for by the operation's own id.
    made: Callable[[object], dict[str, Any]] | None
    #: The object with the task's fields inside an answer to a poll, and to a submit.
    in_poll: Callable[[dict[str, Any]], dict[str, Any]] = itself
    in_submit: Callable[[dict[str, Any]], dict[str, Any]] = itself
    #: The name that the operation's id has on the wire, and what ours has in front of it.
    id_field: str = "id"
    id_prefix: str = ""
    #: The video that a success comes to.
    video: Video = MADE
    #: Whether the vendor has status words; Google's operations only say whether they are done.
    has_words: bool = True
    #: A body that says that an operation is not there.
    missing: object = field(default_factory=lambda: {"error": "not found"})

    @property
    def operation_id(self) -> str:
        return self.id_prefix + ID
