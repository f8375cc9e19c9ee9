"""From a request to a plan: defaults, limits in words, money, and what can't be carried."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.accounts import Picker
from catalog.models import Catalog
from catalog.plan import Plan
from catalog.resolve import attempt_counts, cost_micros, resolve
from catalog.routes import Route
from models.failure import RequestRefused
from models.request import MAX_COUNT, VideoRequest
from models.scene import OPTIONAL, PICTURES, Scene
from providers.base import Account
from providers.registry import PROVIDERS
from settings import Settings

CATALOG = Catalog.load(Settings())
#: Gateways sell the models of others with limits of their own: here the makers' own are tried.
GATEWAYS = {"aimlapi", "aimlapi_legacy", "lunos", "perf", "layer"}
ACCOUNTS: Mapping[str, Account] = {
    name: Account(name=name, provider=name, base_url="http://127.0.0.1:9", credentials={})
    for name in PROVIDERS.keys() - GATEWAYS
}
IMAGE = "https://pictures.example.com/a.png"


def plan(body: dict[str, Any], *, catalog: Catalog = CATALOG) -> Plan:
    request = VideoRequest.from_json({"prompt": "a cat"} | body)
    return resolve(request, catalog, ACCOUNTS)


def planned_or_refused(body: dict[str, Any]) -> Plan | RequestRefused:
    try:
        return plan(body)
    except RequestRefused as refusal:
        return refusal


def changed(name: str, **changes: object) -> Catalog:
    """The catalogue with one model's only route changed."""
    model = CATALOG.find(name)
    (key, route), *_ = model.routes.items()
    new = Route.model_validate(route.model_dump() | changes)
    return Catalog(
        dict(CATALOG.by_name) | {model.name: model.model_copy(update={"routes": {key: new}})}
    )


def test_a_prompt_alone_takes_the_models_defaults() -> None:
    made = plan({})
    assert (made.model, made.asked_model) == ("gen4.5", "runway-gen3")
    assert (made.provider, made.account, made.upstream) == ("runway", "runway", "gen4.5")
    assert (made.duration_seconds, made.resolution, made.aspect_ratio) == (5, "720p", "16:9")
    assert (made.width, made.height, made.fps) == (1280, 720, 24)
    assert made.estimated_cost_micros == 600_000
    assert made.attempt_counts == (1,)
    assert made.ignored == ()


REFUSED = [
    ({"duration_seconds": 11}, "duration_seconds exceeds maximum of 10 for runway-gen3 model"),
    ({"duration_seconds": 1}, "duration_seconds must be 2 to 10 for runway-gen3 model (it is 1)"),
    (
        {"model": "luma", "duration_seconds": 7},
        "duration_seconds must be one of 5, 10 for luma model (it is 7)",
    ),
    (
        {"resolution": "1080p"},
        "resolution must be one of 720p for runway-gen3 model (it is 1080p)",
    ),
    (
        {"aspect_ratio": "1:1"},
        "aspect_ratio must be one of 16:9, 9:16 for runway-gen3 model (it is 1:1)",
    ),
    (
        {"size": "1024x1792"},
        "size must be one of 1280x720, 720x1280 for runway-gen3 model (it is 1024x1792)",
    ),
    (
        {"size": "1280x720", "resolution": "720p"},
        "size can't be combined with resolution (it is 1280x720)",
    ),
    (
        {"size": "1280x720", "aspect_ratio": "16:9"},
        "size can't be combined with aspect_ratio (it is 1280x720)",
    ),
    ({"fps": 30}, "fps must be 24 for the runway-gen3 model (it is 30)"),
    (
        {"negative_prompt": "blur"},
        (
            "negative_prompt is not supported by the runway-gen3 model (it is 'blur'); "
            "it takes seed, image"
        ),
    ),
    (
        {"watermark": False},
        "watermark is not supported by the runway-gen3 model (it is False); it takes seed, image",
    ),
    (
        {"model": "luma", "seed": 0},
        "seed is not supported by the luma model (it is 0); it takes image, last_image",
    ),
    (
        {"image": IMAGE, "last_image": IMAGE},
        (
            "last_image is not supported by the runway-gen3 model (it is an image); "
            "it takes seed, image"
        ),
    ),
    ({"model": "gen4_turbo"}, "image is required for the gen4_turbo model"),
    (
        {"model": "veo-3", "last_image": IMAGE},
        "last_image needs image as well for the veo-3 model",
    ),
    (
        {"model": "veo-3", "reference_images": [IMAGE], "duration_seconds": 4},
        "duration_seconds must be 8 with reference_images for veo-3 model (it is 4)",
    ),
    (
        {"model": "veo-3", "reference_images": [IMAGE], "image": IMAGE},
        "reference_images can't be combined with image for the veo-3 model (there are 1)",
    ),
    (
        {"model": "gemini_veo/veo-3", "resolution": "1080p", "duration_seconds": 6},
        "duration_seconds must be 8 at 1080p or 4k for gemini_veo/veo-3 model (it is 6)",
    ),
    (
        {
            "model": "gemini_veo/veo-3",
            "size": "3840x2160",
            "reference_images": [IMAGE],
            "duration_seconds": 6,
        },
        (
            "duration_seconds must be 8 with reference_images at 1080p or 4k for gemini_veo/veo-3 "
            "model (it is 6)"
        ),
    ),
    (
        {"model": "kling-v2-6", "image": IMAGE, "last_image": IMAGE, "resolution": "720p"},
        "resolution must be one of 1080p with last_image for kling-v2-6 model (it is 720p)",
    ),
    (
        {"model": "kling-v2-6", "image": IMAGE, "last_image": IMAGE, "size": "1280x720"},
        (
            "size must be one of 1920x1080, 1080x1920, 1440x1440 with last_image for kling-v2-6 "
            "model (it is 1280x720)"
        ),
    ),
    (
        {"model": "veo-3", "reference_images": [IMAGE, {"image": IMAGE, "type": "style"}]},
        "reference_images[1].type must be one of subject, asset for the veo-3 model (it is style)",
    ),
    (
        {"prompt": "🦊" * 501},
        "prompt exceeds maximum of 1000 UTF-16 code units for runway-gen3 model (it has 1002)",
    ),
    (
        {"image": "data:image/png;base64,iVBORw0KGgoA" + "A" * (5 * 2**20)},
        (
            "image exceeds maximum of 5242880 bytes as a data URI for runway-gen3 model "
            f"(it has {5 * 2**20 + 34})"
        ),
    ),
    (
        {"model": "luma-dream-machine", "image": "data:image/png;base64,iVBORw0KGgo="},
        "image must be a URL for luma-dream-machine model (it is a data URI)",
    ),
    (
        {"max_cost_usd": 0.59},
        "max_cost_usd must be at least 0.6 for runway-gen3 model, 1 x 5 s at 720p (it is 0.59)",
    ),
]


@pytest.mark.parametrize(("body", "message"), REFUSED, ids=[text[:64] for _, text in REFUSED])
def test_a_limit_is_told_by_field_value_and_what_is_allowed(
    body: dict[str, Any], message: str
) -> None:
    with pytest.raises(RequestRefused) as caught:
        plan(body)
    assert caught.value.message == message
    assert caught.value.param == message.split(maxsplit=1)[0]
    assert caught.value.type == "invalid_request"


def test_a_model_without_credentials_says_which_variable_to_set() -> None:
    request = VideoRequest.from_json({"prompt": "a cat", "model": "gen4.5"})
    with pytest.raises(RequestRefused) as caught:
        resolve(request, CATALOG, {"luma_agents": ACCOUNTS["luma_agents"]})
    assert caught.value.message == "model gen4.5 needs RUNWAYML_API_SECRET to be set"
    assert (caught.value.type, caught.value.param) == ("model_unavailable", "model")


TEAM = {
    name: Account(name=name, provider="runway", base_url="", credentials={})
    for name in ("runway", "runway:a", "runway:b")
}


def chosen(dice: float, room: Mapping[str, int] | None = None, **weights: float) -> str:
    catalog = Catalog(CATALOG.by_name, {f"runway:{name}": one for name, one in weights.items()})
    request = VideoRequest.from_json({"prompt": "a cat", "model": "gen4.5"})
    pick = Picker(dice=lambda: dice, room=room or {})
    return resolve(request, catalog, TEAM, pick).account


@pytest.mark.parametrize(
    ("dice", "expected"),
    [(0.0, "runway"), (0.19, "runway"), (0.21, "runway:a"), (0.79, "runway:a"), (0.81, "runway:b")],
)
def test_an_account_is_chosen_as_often_as_its_weight_says(dice: float, expected: str) -> None:
    assert chosen(dice, a=3) == expected


@pytest.mark.parametrize("dice", [0.0, 0.5, 0.999999999])
def test_an_account_of_weight_0_is_never_chosen(dice: float) -> None:
    assert chosen(dice, a=0) in {"runway", "runway:b"}


@given(dice=st.floats(0, 1, exclude_max=True), weight=st.floats(0, 1_000_000))
def test_whatever_the_dice_say_an_account_with_a_weight_is_chosen(
    dice: float, weight: float
) -> None:
    name = chosen(dice, b=weight)
    assert name in TEAM
    assert weight or name != "runway:b"


def test_accounts_without_room_for_the_whole_job_are_passed_over() -> None:
    room = {"runway": 0, "runway:a": 599_999, "runway:b": 600_000}
    assert {chosen(dice, room) for dice in (0.0, 0.5, 0.99)} == {"runway:b"}
    full = dict.fromkeys(TEAM, 0)  # then the choice is as ever, and the job waits
    assert {chosen(dice, full) for dice in (0.0, 0.5, 0.99)} == set(TEAM)


def test_a_model_whose_accounts_all_have_weight_0_is_refused_in_words() -> None:
    catalog = Catalog(CATALOG.by_name, dict.fromkeys(TEAM, 0.0))
    request = VideoRequest.from_json({"prompt": "a cat", "model": "gen4.5"})
    with pytest.raises(RequestRefused) as caught:
        resolve(request, catalog, TEAM)
    assert caught.value.type == "model_unavailable"
    assert caught.value.message == (
        "model gen4.5 takes no new jobs: the weight of runway, runway:a, runway:b is 0"
    )


def test_with_an_image_more_shapes_are_offered() -> None:
    made = plan({"image": IMAGE, "aspect_ratio": "21:9"})
    assert (made.width, made.height) == (1584, 672)


def test_a_size_stands_for_resolution_and_aspect_ratio() -> None:
    made = plan({"model": "luma", "size": "1080x1920"})
    assert (made.resolution, made.aspect_ratio) == ("1080p", "9:16")


def test_what_cant_be_carried_is_left_out_and_listed_when_the_caller_agrees() -> None:
    body = {
        "model": "luma",
        "seed": 7,
        "negative_prompt": "blur",
        "reference_images": [IMAGE],
        "fps": 30,
        "unsupported": "ignore",
    }
    made = plan(body)
    assert made.ignored == ("seed", "negative_prompt", "reference_images", "fps")
    assert made.fps == 24
    ask = made.ask(attempt_id="a", marker="m")
    assert ask.scene == Scene(prompt="a cat")
    assert ask.fps is None


def test_references_of_a_type_that_cant_be_carried_are_left_out_when_the_caller_agrees() -> None:
    style = {"image": IMAGE, "type": "style"}
    made = plan({"model": "veo-3", "reference_images": [IMAGE, style], "unsupported": "ignore"})
    assert made.ignored == ("reference_images",)
    assert made.scene.reference_images == ()


def test_the_type_of_a_reference_reaches_the_ask_by_way_of_the_stored_plan() -> None:
    subject = {"image": {"job_id": "j1"}, "type": "subject"}
    made = plan({"model": "veo-3", "reference_images": [IMAGE, subject]})
    stored = Plan.from_json(json.loads(json.dumps(made.to_json())))
    assert stored == made
    ask = stored.ask(attempt_id="a", marker="m", pictures={"j1": "data:image/png;base64,AA"})
    assert [(each.image, each.type) for each in ask.scene.reference_images] == [
        (IMAGE, "asset"),
        ("data:image/png;base64,AA", "subject"),
    ]


def test_references_that_were_stored_before_they_had_types_are_assets() -> None:
    made = plan({"model": "veo-3", "reference_images": [IMAGE, {"job_id": "j1"}]})
    older = json.loads(json.dumps(made.to_json()))
    older["scene"]["reference_images"] = [IMAGE, {"job_id": "j1"}]
    assert Plan.from_json(older) == made


def test_what_is_not_set_takes_what_the_combination_has() -> None:
    catalog = changed("veo-3", duration=4)
    assert plan({"model": "veo-3"}, catalog=catalog).duration_seconds == 4
    references = {"model": "veo-3", "reference_images": [IMAGE]}
    assert plan(references, catalog=catalog).duration_seconds == 8
    both = {"model": "kling-v2-6", "image": IMAGE, "last_image": IMAGE}
    assert (plan(both).resolution, plan(both | {"resolution": "1080p"}).resolution) == (
        "1080p",
        "1080p",
    )


def test_a_picture_without_which_a_route_makes_nothing_is_required() -> None:
    gateway = {"aimlapi": Account(name="aimlapi", provider="aimlapi", base_url="", credentials={})}
    model = CATALOG.find("aimlapi/veo-3")
    only = model.model_copy(update={"routes": {"f": model.routes["aimlapi_frames"]}})
    body = {"prompt": "a cat", "model": "aimlapi/veo3.1", "image": IMAGE}
    with pytest.raises(RequestRefused) as caught:
        resolve(VideoRequest.from_json(body), Catalog({"veo3.1": only}), gateway)
    assert caught.value.message == "last_image is required for the aimlapi/veo3.1 model"
    assert caught.value.param == "last_image"


def test_limits_are_not_parameters_and_hold_even_so() -> None:
    with pytest.raises(RequestRefused, match="exceeds maximum of 10"):
        plan({"duration_seconds": 11, "unsupported": "ignore"})


def test_the_frame_rate_that_is_delivered_anyway_may_be_asked_for() -> None:
    assert plan({"fps": 24}).ask(attempt_id="a", marker="m").fps is None


def test_a_frame_rate_that_can_be_chosen_is_sent() -> None:
    catalog = changed("gen4.5", fps_choices=(24, 60))
    assert plan({"fps": 60}, catalog=catalog).ask(attempt_id="a", marker="m").fps == 60
    assert plan({}, catalog=catalog).ask(attempt_id="a", marker="m").fps == 24
    with pytest.raises(RequestRefused, match="fps must be one of 24, 60"):
        plan({"fps": 30}, catalog=catalog)


def test_sound_is_priced_and_always_told_where_the_vendor_prices_it() -> None:
    loud, silent = plan({"model": "veo-3"}), plan({"model": "veo-3", "audio": False})
    assert (loud.scene.audio, silent.scene.audio) == (True, False)
    assert (loud.estimated_cost_micros, silent.estimated_cost_micros) == (3_200_000, 1_600_000)


def test_a_limit_on_the_cost_may_be_met_exactly() -> None:
    assert plan({"max_cost_usd": 0.6}).estimated_cost_micros == 600_000
    with pytest.raises(RequestRefused, match=r"at least 1\.8 .* 3 x 5 s"):
        plan({"max_cost_usd": 1.79, "count": 3})


def test_the_next_route_is_taken_where_the_first_can_not_do_it() -> None:
    # Given a model that a second, cheaper and longer route makes as well
    model = CATALOG.find("gen4.5")
    second = CATALOG.find("luma").routes["luma_agents"]
    both = model.model_copy(update={"routes": {**model.routes, "second": second}})
    catalog = Catalog({"gen4.5": both})
    # Then the first is taken where it can, and the second where only that can
    body = {"model": "gen4.5"}
    assert plan(body, catalog=catalog).provider == "runway"
    assert plan(body | {"resolution": "1080p"}, catalog=catalog).provider == "luma_agents"
    assert plan(body | {"max_cost_usd": 0.4}, catalog=catalog).provider == "luma_agents"
    # And where neither can, the first one's reason is told
    with pytest.raises(RequestRefused, match="must be 2 to 10"):
        plan(body | {"duration_seconds": 1}, catalog=catalog)


def test_each_attempt_of_a_job_with_a_seed_makes_its_own_video() -> None:
    made = plan({"seed": 2**32 - 1, "count": 2})
    seeds = [made.ask(attempt_id="a", marker="m", variation=at).scene.seed for at in (0, 1)]
    assert seeds == [2**32 - 1, 0]


def test_an_earlier_jobs_frame_stays_a_reference_until_an_attempt_is_made() -> None:
    made = plan({"model": "luma", "image": {"job_id": "j1"}, "last_image": IMAGE})
    assert made.job_references == ("j1",)
    ask = made.ask(attempt_id="a", marker="m", pictures={"j1": "https://ours.example.com/j1.png"})
    assert (ask.scene.image, ask.scene.last_image) == ("https://ours.example.com/j1.png", IMAGE)
    with pytest.raises(KeyError, match="j1"):
        made.ask(attempt_id="a", marker="m")


def test_a_plan_does_not_show_its_prompt() -> None:
    assert "a cat" not in repr(plan({}))


BODIES = st.fixed_dictionaries(
    {"model": st.sampled_from(["runway-gen3", "veo-3", "luma", "gen4_turbo"])},
    optional={
        "prompt": st.text(min_size=1, max_size=40),
        "duration_seconds": st.integers(1, 12),
        "resolution": st.sampled_from(["360p", "720p", "1080p"]),
        "aspect_ratio": st.sampled_from(["16:9", "9:16", "1:1"]),
        "seed": st.integers(0, 2**32 - 1),
        "audio": st.booleans(),
        "cfg_scale": st.floats(0, 1),
        "image": st.sampled_from([IMAGE, {"job_id": "j1"}]),
        "last_image": st.just(IMAGE),
        "reference_images": st.lists(
            st.sampled_from([IMAGE, {"image": IMAGE, "type": "style"}]), max_size=2
        ),
        "count": st.integers(1, MAX_COUNT),
        "unsupported": st.sampled_from(["ignore", "refuse"]),
        "max_cost_usd": st.floats(0.01, 100),
    },
)


@given(BODIES)
def test_a_request_is_either_refused_by_field_or_planned_within_the_routes_limits(
    body: dict[str, Any],
) -> None:
    made = planned_or_refused(body)
    if isinstance(made, RequestRefused):
        assert made.param
        assert made.message.startswith(made.param)
        return
    route = CATALOG.find(body["model"]).routes[made.route]
    pictures = [name for name in PICTURES if getattr(made.scene, name)]
    assert made.duration_seconds in route.durations_with(pictures, made.resolution)
    assert sum(made.attempt_counts) == body.get("count", 1)
    if "max_cost_usd" in body:
        assert made.estimated_cost_micros <= Decimal(str(body["max_cost_usd"])) * 1_000_000
    # What was ignored is not in the scene, and nothing else is missing
    asked = VideoRequest.from_json({"prompt": "a cat"} | body)
    for name in ("seed", "audio", "cfg_scale", "image", "last_image"):
        sent = getattr(made.scene, name)
        assert name not in made.ignored or sent in (None, route.audio)
        if name in body and name not in made.ignored:
            assert sent == getattr(asked, name)
    # And the plan comes back whole from its JSON, also from a newer version's
    again = json.loads(json.dumps(made.to_json()))
    again["scene"]["of_a_newer_version"] = 1
    assert Plan.from_json(again | {"of_a_newer_version": 1}) == made


def test_a_plan_of_an_older_version_is_read_without_its_missing_parameters() -> None:
    made = plan({"model": "luma", "image": {"job_id": "j1"}})
    older = json.loads(json.dumps(made.to_json()))
    for name in OPTIONAL:
        if name != "image":
            del older["scene"][name]
    assert Plan.from_json(older) == made


def test_a_stored_scene_is_read_whatever_the_limits_are_now() -> None:
    values = {"prompt": "a" * 30_000, "cfg_scale": 101, "person_generation": "allow_some"}
    scene = Scene.from_json(values | {"of_a_newer_version": 1})
    assert {name: getattr(scene, name) for name in values} == values


def test_a_scene_without_a_prompt_is_not_read() -> None:
    with pytest.raises(KeyError, match="prompt"):
        Scene.from_json({"seed": 1})


@given(st.integers(1, MAX_COUNT), st.integers(1, 8))
def test_attempts_are_as_few_as_can_be_and_make_exactly_what_was_asked(
    count: int, most: int
) -> None:
    counts = attempt_counts(count, most=most)
    assert sum(counts) == count
    assert all(1 <= each <= most for each in counts)
    assert len(counts) == -(-count // most)


@given(
    st.decimals("0", "10", places=6, allow_nan=False),
    st.integers(1, 600),
    st.integers(1, MAX_COUNT),
)
def test_a_price_is_exact_and_never_rounded_down(price: Decimal, seconds: int, count: int) -> None:
    micros = cost_micros(price, seconds=seconds, count=count)
    assert micros == count * cost_micros(price, seconds=seconds, count=1)
    assert Decimal(micros) == price * seconds * count * 1_000_000
