"""A dialect adapts: the nearest that can be made, told in one line; maximums are enforced."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.adapt import FIELDS, Adapted, adapt
from catalog.models import Catalog
from catalog.resolve import resolve
from catalog.routes import Route
from models.failure import RequestRefused
from models.scene import Scene
from providers.base import Account
from providers.registry import PROVIDERS
from settings import Settings

CATALOG = Catalog.load(Settings())
IMAGE, INLINE = "https://pictures.example.com/a.png", "data:image/png;base64,iVBORw0KGgo="
GATEWAYS = {"aimlapi", "aimlapi_legacy", "lunos", "perf", "layer"}


def accounts(*providers: str) -> Mapping[str, Account]:
    return {
        name: Account(name=name, provider=name, base_url="http://127.0.0.1:9", credentials={})
        for name in providers
    }


MAKERS = accounts(*sorted(PROVIDERS.keys() - GATEWAYS))


def adapted(
    fields: Mapping[str, Any],
    *,
    providers: Mapping[str, Account] = MAKERS,
    catalog: Catalog = CATALOG,
    gate: tuple[str, ...] = (),
) -> Adapted:
    whole = {"prompt": "a cat"} | dict(fields) | ({"gate": "shop"} if gate else {})
    return adapt(whole, catalog=catalog, accounts=providers, gate_models=gate)


def routed(name: str, **changes: object) -> Catalog:
    """The catalogue with one model's first route changed, and no other one."""
    model = CATALOG.find(name)
    (key, route), *_ = model.routes.items()
    new = Route.model_validate(route.model_dump() | changes)
    return Catalog(
        dict(CATALOG.by_name) | {model.name: model.model_copy(update={"routes": {key: new}})}
    )


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, ""),
        ({"duration_seconds": 8, "resolution": "720p"}, ""),
        ({"model": "kling-3.0-turbo", "prompt": "x" * 3072}, ""),
        ({"duration_seconds": 8.0}, ""),
        ({"fps": 24, "seed": 7}, ""),
        ({"model": "luma-dream-machine", "duration_seconds": 4}, "duration_seconds=5 (asked 4)"),
        (
            {"model": "luma-dream-machine", "duration_seconds": 4, "fps": 30},
            "duration_seconds=5 (asked 4), fps",
        ),
        # On a tie the longer one; a fraction counts.
        ({"model": "luma-dream-machine", "duration_seconds": 7}, "duration_seconds=9 (asked 7)"),
        (
            {"model": "luma-dream-machine", "duration_seconds": 6.9},
            "duration_seconds=5 (asked 6.9)",
        ),
        ({"model": "veo-3", "duration_seconds": 6.5}, "duration_seconds=6 (asked 6.5)"),
        ({"duration_seconds": 3.5}, "duration_seconds=4 (asked 3.5)"),
        ({"duration_seconds": 0.1}, "duration_seconds=2 (asked 0.1)"),
        ({"resolution": "1080p", "aspect_ratio": "16:9"}, "resolution=720p (asked 1080p)"),
        ({"aspect_ratio": "4:3"}, "aspect_ratio=16:9 (asked 4:3)"),
        ({"aspect_ratio": "3:4"}, "aspect_ratio=9:16 (asked 3:4)"),
        ({"aspect_ratio": "1:1"}, "aspect_ratio=16:9 (asked 1:1)"),
        # With a first frame Runway makes other shapes.
        ({"aspect_ratio": "4:3", "image": IMAGE}, ""),
        ({"size": "1792x1024"}, "size=1280x720 (asked 1792x1024)"),
        ({"size": "1024x1792"}, "size=720x1280 (asked 1024x1792)"),
        ({"model": "luma-dream-machine", "size": "1792x1024"}, "size=1920x1080 (asked 1792x1024)"),
        ({"model": "luma-dream-machine", "size": "1280x720"}, ""),
        ({"negative_prompt": "rain", "motion_bucket_id": 3}, "negative_prompt, motion_bucket_id"),
        # In the order of the fields, however they came.
        (
            {"watermark": True, "fps": 30, "duration_seconds": 1, "cfg_scale": 7},
            "duration_seconds=2 (asked 1), fps, cfg_scale, watermark",
        ),
        ({"last_image": IMAGE}, "last_image"),
        ({"reference_images": [IMAGE, IMAGE]}, "reference_images"),
        (
            {"model": "veo-3", "reference_images": [{"image": IMAGE, "type": "style"}]},
            "reference_images=asset (asked style)",
        ),
        (
            {"model": "veo-3", "reference_images": [IMAGE], "duration_seconds": 4},
            "duration_seconds=8 (asked 4)",
        ),
        ({"model": "veo-3", "image": IMAGE, "reference_images": [IMAGE]}, "reference_images"),
        # More than the native request allows are cut to what the route takes.
        (
            {"model": "veo-3", "reference_images": [IMAGE] * 17},
            "reference_images=3 (asked 17)",
        ),
        ({"reference_images": [IMAGE] * 17}, "reference_images"),
        # Values that no model takes are dropped like those that this one does not.
        (
            {"person_generation": "everyone", "motion_bucket_id": 1000},
            "motion_bucket_id, person_generation",
        ),
        ({"seed": -1}, "seed=4294967295 (asked -1)"),
        ({"seed": 2**32 + 7}, "seed=7 (asked 4294967303)"),
        ({"seed": 42.0}, ""),
    ],
)
def test_what_a_document_allows_becomes_the_nearest_and_is_told(
    fields: dict[str, Any], told: str
) -> None:
    assert str(adapted(fields)) == told


@pytest.mark.parametrize("asked", ["4:3", "1:1", "9:16", "21:9"])
def test_the_ratio_is_kept_before_the_resolution(asked: str) -> None:
    frames = {
        "720p": {"16:9": (1280, 720), asked: (720, 720)},
        "1080p": {"16:9": (1920, 1080)},
    }
    price = CATALOG.find("gen4.5").routes["runway"].price.model_dump()
    price["usd_per_second"] = {"720p": "0.1", "1080p": "0.1"}
    catalog = routed("gen4.5", frames=frames, image_frames=None, price=price)

    made = adapted({"resolution": "1080p", "aspect_ratio": asked}, catalog=catalog)

    assert str(made) == "resolution=720p (asked 1080p)"


def test_gen3a_turbo_without_a_picture_is_made_by_another_model() -> None:
    made = adapted({"model": "gen3a_turbo", "duration_seconds": 10})

    assert made.request.model == "gen4.5"
    assert str(made) == "model=gen4.5 (asked gen3a_turbo)"
    assert str(adapted({"model": "gen3a_turbo", "image": IMAGE})) == ""


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"duration_seconds": 11}, "duration_seconds exceeds maximum of 10 for runway-gen3 model"),
        ({"duration_seconds": 10.5}, "exceeds maximum of 10 for runway-gen3 model"),
        ({"duration_seconds": 10**300}, "exceeds maximum of 10 for runway-gen3 model"),
        ({"model": "veo-3", "duration_seconds": 60}, "exceeds maximum of 8 for veo-3 model"),
        # Of several routes the one that makes the longest.
        ({"model": "hailuo", "duration_seconds": 12}, "exceeds maximum of 10 for hailuo model"),
        (
            {"model": "gen3a_turbo", "duration_seconds": 11},
            "exceeds maximum of 10 for gen4.5 model",
        ),
        ({"prompt": "x" * 1001}, "prompt exceeds maximum of 1000"),
        (
            {"image": "data:image/png;base64,iVBORw0KGgoA" + "a" * 6_000_000},
            "image exceeds maximum of",
        ),
        (
            {"model": "kling-3.0-turbo", "prompt": "x" * 3073},
            "prompt exceeds maximum of 3072 characters for kling-3.0-turbo model (it has 3073)",
        ),
        (
            {"model": "kling-3.0-turbo", "prompt": "x" * 2501, "image": IMAGE},
            "prompt exceeds maximum of 2500 characters for kling-3.0-turbo model (it has 2501)",
        ),
        ({"model": "no-such-model"}, "model must be one of"),
        ({"aspect_ratio": "wide"}, "aspect_ratio must be as in 16:9 (it is 'wide')"),
        ({"aspect_ratio": "0:1"}, "aspect_ratio must be as in 16:9"),
        ({"size": "0x720"}, "size must be as in 1280x720"),
        ({"resolution": "sharp"}, "resolution must be a class as in 720p"),
        ({"image": "ftp://example.com/a.png"}, "image must be an http(s) URL"),
        ({"prompt": ""}, "prompt is required"),
        (
            {"model": "luma-dream-machine", "image": INLINE},
            "image must be a URL for luma-dream-machine model (it is a data URI)",
        ),
        (
            {"model": "luma-dream-machine", "image": {"job_id": "job_vid_1"}},
            "image must be a URL for luma-dream-machine model (it is an earlier job's frame)",
        ),
    ],
)
def test_maximums_are_enforced_and_so_is_what_means_nothing(
    fields: dict[str, Any], says: str
) -> None:
    with pytest.raises(RequestRefused, match=r".") as refused:
        adapted(fields)
    assert says in refused.value.message


def test_the_route_that_drops_least_makes_it() -> None:
    """Pika's usual route takes no last frame; the other one needs a first frame."""
    made = adapted(
        {"model": "pika", "image": IMAGE, "last_image": IMAGE, "duration_seconds": 4, "seed": 1}
    )

    assert str(made) == "duration_seconds=5 (asked 4)"
    assert resolve(made.request, CATALOG, MAKERS).route == "fal_frames"


def test_a_model_without_credentials_is_made_by_a_gateway_that_has_some() -> None:
    made = adapted({"duration_seconds": 16, "resolution": "1080p"}, providers=accounts("perf"))

    assert made.request.model == "perf/runway-gen3"
    assert str(made) == ""
    with pytest.raises(RequestRefused, match="exceeds maximum of 10 for runway-gen3 model"):
        adapted({"duration_seconds": 16}, providers=accounts("perf", "runway"))
    with pytest.raises(RequestRefused, match="RUNWAYML_API_SECRET") as refused:
        adapted({}, providers=accounts("luma_agents"))
    assert refused.value.type == "model_unavailable"


def test_a_first_frame_is_never_dropped() -> None:
    """The gateway or the gate's model that carries it makes it; else it is refused."""
    with pytest.raises(RequestRefused, match="image is not supported") as refused:
        adapted({"image": IMAGE}, providers=accounts("perf"))
    assert refused.value.param == "image"
    with pytest.raises(RequestRefused, match="image must be a URL for ray-2 model"):
        adapted({"image": INLINE}, gate=("ray-2",))

    made = adapted({"image": IMAGE}, providers=accounts("perf", "layer"))
    assert (made.request.model, made.request.image) == ("layer/runway-gen3", IMAGE)
    gated = adapted({"image": INLINE}, gate=("ray-2", "gen4_turbo"))
    assert (gated.request.image, str(gated)) == (INLINE, "")


def test_a_gates_first_model_that_can_make_it_is_adapted_to_and_not_named() -> None:
    gate = ("gen4_turbo", "luma-dream-machine", "runway-gen3")
    made = adapted({"duration_seconds": 4}, gate=gate)

    assert str(made) == "duration_seconds=5 (asked 4)"
    assert "model" not in made.request.model_fields_set
    assert made.request.gate == "shop"
    named = adapted({"duration_seconds": 4, "model": "veo-3"}, gate=gate)
    assert (named.request.model, str(named)) == ("veo-3", "")
    # What nobody asked for is not set: the gate may forbid it.
    ratio = adapted({"aspect_ratio": "9:16"}, gate=("runway-gen3",)).request
    assert ratio.model_fields_set == {"prompt", "gate", "aspect_ratio"}
    with pytest.raises(RequestRefused, match="exceeds maximum of 10 for gen4_turbo model"):
        adapted({"duration_seconds": 99}, gate=gate)


def test_the_list_is_one_line_that_a_header_can_carry() -> None:
    made = adapted({"size": "1792x1024", "seed": 1e300})
    told = str(made)
    assert told.isascii()
    assert told.isprintable()
    assert len(told) < 200


@given(
    model=st.sampled_from(
        ["runway-gen3", "veo-3", "luma-dream-machine", "pika", "kling", "hailuo", "sora"]
    ),
    duration=st.floats(0.001, 4) | st.integers(1, 4),
    resolution=st.sampled_from(["720p", "1080p", "4k", None]),
    ratio=st.sampled_from(["16:9", "9:16", "1:1", "4:3", None]),
    extras=st.sets(st.sampled_from(FIELDS[-len(Scene.model_fields) + 1 :])),
    fps=st.sampled_from([None, 1, 24, 30, 240]),
    types=st.lists(st.sampled_from(["subject", "style", "asset"]), min_size=1, max_size=5),
)
def test_whatever_is_adapted_can_be_made_and_everything_else_is_told(
    *,
    model: str,
    duration: float,
    resolution: str | None,
    ratio: str | None,
    extras: set[str],
    fps: int | None,
    types: list[str],
) -> None:
    values: dict[str, Any] = {
        "seed": 3,
        "negative_prompt": "rain",
        "cfg_scale": 0.5,
        "motion_bucket_id": 9,
        "person_generation": "allow_adult",
        "watermark": False,
        "audio": True,
        "image": IMAGE,
        "last_image": IMAGE,
        "reference_images": [{"image": IMAGE, "type": type_} for type_ in types],
    }
    asked = {name: values[name] for name in extras} | {
        "model": model,
        "duration_seconds": duration,
        "resolution": resolution,
        "aspect_ratio": ratio,
        "fps": fps,
    }
    made = adapted(asked)
    plan = resolve(made.request, CATALOG, MAKERS)  # raises for what can't be made

    told = {change.field: change for change in made.changes}
    assert [change.field for change in made.changes] == sorted(told, key=FIELDS.index)
    assert plan.ignored == ()
    for name in ("duration_seconds", "resolution", "aspect_ratio"):
        if asked[name] is not None:
            expected = told[name].made if name in told else asked[name]
            assert getattr(plan, name) == expected
    for name in extras - told.keys():
        assert getattr(made.request, name) not in (None, ())


#: The values that stand in Perf's document, and the longest that it names for each model.
PERF_ASKS = [
    {"model": model, "resolution": resolution, "aspect_ratio": ratio, "duration_seconds": seconds}
    for model in ("veo-3", "runway-gen3", "luma-dream-machine", "pika")
    for resolution in ("720p", "1080p")
    for ratio in ("16:9", "9:16", "1:1", "4:3")
    for seconds in (4, 8)
]


def test_every_value_of_perfs_document_is_made_by_every_provider_with_credentials() -> None:
    made_by: dict[str, set[str]] = {}
    for asked in PERF_ASKS:
        for provider in PROVIDERS:
            only = accounts(provider)
            try:
                made = adapted(asked, providers=only)
            except RequestRefused as refusal:
                told = refusal.message
                assert "needs" in told or "exceeds maximum of 4 for pika model" in told, told
                continue
            made_by.setdefault(str(asked["model"]), set()).add(
                resolve(made.request, CATALOG, only).provider
            )
    for model, makers in made_by.items():
        routes = CATALOG.find(model).routes.values()
        assert makers >= {route.provider for route in routes}, model
        assert "perf" in makers, model
