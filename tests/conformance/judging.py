"""A judge: what a vendor's own client is asked to do, and what our adapter is asked to do alike."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from models.scene import Scene
from providers.base import Ask, Flow, Provider

IMAGE = "https://pictures.example.com/first.png?size=1%2F2&name=été"
LAST = "https://pictures.example.com/last.png"
DATA = "data:image/png;base64,aGVsbG8="
PROMPT = 'A fox — "quick" 🦊\nacross <snow> & ice'

#: The parts of a call that submits and polls in one.
SUBMITTED, POLLED = slice(1), slice(1, None)


@dataclass(frozen=True)
class Case:
    """One ask, told to the SDK and to our adapter."""

    name: str
    sdk: Callable[[Any], object]
    ours: Callable[[Provider], Flow[Any]]
    answer: Any = None
    status: int = 200
    #: Which of the SDK's requests ours are compared with, where one call of it submits and polls.
    part: slice = field(default_factory=lambda: slice(None))
    #: Members of the body that only one of the two can say.
    apart: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Judge:
    """A vendor's SDK and what it is asked to do."""

    credentials: Mapping[str, str]
    #: What the SDK calls its base URL, after the server's origin.
    base_path: str
    client: Callable[[str], AbstractContextManager[Any]]
    cases: tuple[Case, ...] = field(default=())


def ask(**changes: object) -> Ask:
    """An ask with changes, which may be fields of its scene."""
    told: dict[str, Any] = {"prompt": PROMPT, **changes}
    scene = {name: told.pop(name) for name in Scene.model_fields if name in told}
    values: dict[str, Any] = {
        "attempt_id": "a1",
        "marker": "m1",
        "upstream": "gen4.5",
        "scene": Scene[str](**scene),
        "duration_seconds": 5,
        "resolution": "720p",
        "aspect_ratio": "16:9",
        "width": 1280,
        "height": 720,
    }
    return Ask(**values | told)
