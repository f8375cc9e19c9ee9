"""The plan of an attempt: one route with every value decided, stored as JSON with the job."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, TypeAdapter

from models.scene import JobReference, Kept, Scene, StoredPicture, StoredScene
from providers.base import Ask

_NO_PICTURES: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One request resolved on one route; produces each attempt's Ask, repeatably."""

    #: The catalogue's name, and the name the caller used.
    model: str
    asked_model: str
    route: str
    provider: str
    account: str
    upstream: str
    #: What the route supports of the requested parameters.
    scene: Annotated[StoredScene, BeforeValidator(Scene.from_json)] = field(repr=False)
    #: Number of videos each attempt makes; the sum is the requested count.
    attempt_counts: tuple[int, ...]
    duration_seconds: int
    resolution: str
    aspect_ratio: str
    width: int
    height: int
    #: Frames per second delivered, and whether to send the value to the vendor.
    fps: int
    fps_is_sent: bool = False
    #: For all attempts together, in millionths of a US dollar.
    estimated_cost_micros: int
    #: 10th, 50th and 90th percentile of generation time, in seconds.
    typical_seconds: tuple[int, int, int]
    #: Requested parameters that the route does not support and the caller agreed to drop.
    ignored: tuple[str, ...] = ()

    def ask(
        self,
        *,
        attempt_id: str,
        marker: str,
        count: int = 1,
        variation: int = 0,
        callback_url: str | None = None,
        pictures: Mapping[str, str] = _NO_PICTURES,
    ) -> Ask:
        """One attempt's request; `pictures` maps `job_references` and `stored_pictures` to URIs.

        A link that it maps as well is replaced by what was fetched.

        `variation` is the number of videos in earlier attempts of the job: it offsets the seed, or
        every attempt would pay for the same video.

        Raises:
            KeyError: `pictures` lacks a referenced job or a stored picture.
        """

        def uri(picture: Kept) -> str:
            match picture:
                case JobReference(job_id=id_) | StoredPicture(picture=id_):
                    return pictures[id_]
                case _:
                    return pictures.get(picture, picture)

        return Ask(
            attempt_id=attempt_id,
            marker=marker,
            upstream=self.upstream,
            scene=self.scene.varied(variation).with_pictures(uri),
            duration_seconds=self.duration_seconds,
            resolution=self.resolution,
            aspect_ratio=self.aspect_ratio,
            width=self.width,
            height=self.height,
            count=count,
            fps=self.fps if self.fps_is_sent else None,
            callback_url=callback_url,
        )

    def beside(self, scene: Mapping[str, Any]) -> dict[str, Any]:
        """The plan as JSON, of whose scene only the values that differ from `scene` are kept.

        These are what the route does not support, or its own default, and so nothing private.
        """
        values = self.to_json()
        own = values.pop("scene")
        changes = {name: value for name, value in own.items() if value != scene.get(name)}
        return values | ({"scene": changes} if changes else {})

    @property
    def job_references(self) -> tuple[str, ...]:
        """Ids of the jobs whose last frames are used as images."""
        return tuple(
            picture.job_id
            for _, picture in self.scene.pictures()
            if isinstance(picture, JobReference)
        )

    @property
    def stored_pictures(self) -> tuple[str, ...]:
        """Ids of the pictures that the request contained."""
        return tuple(
            picture.picture
            for _, picture in self.scene.pictures()
            if isinstance(picture, StoredPicture)
        )

    @property
    def links(self) -> dict[str, str]:
        """The links to pictures, by parameter."""
        return {
            name: picture
            for name, picture in self.scene.pictures()
            if isinstance(picture, str) and not picture.startswith("data:")
        }

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values; contains the prompt and images, so store it encrypted."""
        values: dict[str, Any] = _PLANS.dump_python(self, mode="json")
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Plan":
        """Inverse of `to_json`; unknown fields from a newer version are ignored."""
        return _PLANS.validate_python(values)


def duration_route(*, provider: str, upstream: str, duration_seconds: int) -> str:
    """The route of learned durations: the upstream model and the length of its videos."""
    return f"{provider}/{upstream}/{duration_seconds}s"


_PLANS: Final = TypeAdapter(Plan)
