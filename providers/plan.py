"""What a request was resolved to: one route with every value decided, kept as JSON with its job."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from pydantic import TypeAdapter

from providers.base import Ask

#: An address or a data URI, or `{"job_id": …}` for the last frame of an earlier job's video.
PictureValue = str | dict[str, str]

_NO_PICTURES: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What the video shows and how, as far as the route carries it."""

    prompt: str
    negative_prompt: str | None = None
    image: PictureValue | None = None
    last_image: PictureValue | None = None
    reference_images: tuple[PictureValue, ...] = ()
    seed: int | None = None
    cfg_scale: float | None = None
    motion_bucket_id: int | None = None
    person_generation: str | None = None
    watermark: bool | None = None
    audio: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One request on one route; from it every attempt's Ask can be made again at any time."""

    #: The catalogue's name, and the name that the caller used.
    model: str
    asked_model: str
    route: str
    provider: str
    account: str
    upstream: str
    scene: Scene = field(repr=False)
    #: Videos that each attempt makes; their sum is what was asked.
    attempt_counts: tuple[int, ...]
    duration_seconds: int
    resolution: str
    aspect_ratio: str
    width: int
    height: int
    #: Frames a second that will be delivered, and whether the vendor must be told.
    fps: int
    fps_is_sent: bool = False
    #: Millionths of a US dollar for all attempts together.
    estimated_cost_micros: int
    #: 10th, 50th and 90th percentile of the time that a video takes.
    typical_seconds: tuple[int, int, int]
    #: Parameters of the request that the route can't carry and the caller agreed to lose.
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
        """One attempt's request; `pictures` has the address of each of `job_references`.

        `variation` counts the videos that earlier attempts of the job make: with a seed each
        attempt gets its own, or all of them would pay for the same video.

        Raises:
            KeyError: a referenced job's picture is not in `pictures`.
        """

        def address(value: PictureValue | None) -> str | None:
            return pictures[value["job_id"]] if isinstance(value, dict) else value

        scene = self.scene
        return Ask(
            attempt_id=attempt_id,
            marker=marker,
            upstream=self.upstream,
            prompt=scene.prompt,
            duration_seconds=self.duration_seconds,
            resolution=self.resolution,
            aspect_ratio=self.aspect_ratio,
            width=self.width,
            height=self.height,
            count=count,
            fps=self.fps if self.fps_is_sent else None,
            seed=None if scene.seed is None else (scene.seed + variation) % 2**32,
            negative_prompt=scene.negative_prompt,
            image=address(scene.image),
            last_image=address(scene.last_image),
            reference_images=tuple(
                picture for value in scene.reference_images if (picture := address(value))
            ),
            cfg_scale=scene.cfg_scale,
            motion_bucket_id=scene.motion_bucket_id,
            person_generation=scene.person_generation,
            watermark=scene.watermark,
            audio=scene.audio,
            callback_url=callback_url,
        )

    @property
    def job_references(self) -> tuple[str, ...]:
        """Ids of the jobs whose last frames are among the pictures."""
        return tuple(value["job_id"] for value in self._pictures() if isinstance(value, dict))

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values; it holds the prompt and pictures, so it is kept encrypted."""
        values: dict[str, Any] = _PLANS.dump_python(self, mode="json")
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Plan":
        """The plan again; fields of a newer version's plan are passed over."""
        return _PLANS.validate_python(values)

    def _pictures(self) -> Iterator[PictureValue | None]:
        yield self.scene.image
        yield self.scene.last_image
        yield from self.scene.reference_images


_PLANS: Final = TypeAdapter(Plan)
