"""The catalogue: what is shipped is whole, what an operator lays over it is checked."""

from pathlib import Path

import pytest

from catalog.models import Catalog, CatalogError
from catalog.routes import Route
from models.failure import RequestRefused
from models.request import DEFAULT_MODEL
from settings import Settings

SHIPPED = Catalog.load(Settings())
ROUTES = [
    pytest.param(route, id=f"{model.name} by {route.name}")
    for model in SHIPPED.models()
    for route in model.routes.values()
]


def overlaid(folder: Path, text: str) -> Catalog:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return Catalog.load(Settings(catalog=path))


@pytest.mark.parametrize("route", ROUTES)
def test_every_figure_of_a_shipped_route_has_a_source(route: Route) -> None:
    assert route.price.source
    assert route.typical.source
    assert {"limits", "fps"} <= set(route.sources)


@pytest.mark.parametrize("route", ROUTES)
def test_every_frame_of_a_shipped_route_has_a_price_and_a_true_shape(route: Route) -> None:
    for with_image in (False, True):
        for resolution, ratios in route.frames_for(with_image=with_image).items():
            assert route.price.per_second(resolution, audio=route.audio) > 0
            for ratio, (width, height) in ratios.items():
                across, down = (int(side) for side in ratio.split(":"))
                assert width / height == pytest.approx(across / down, rel=0.02)
                assert width % 2 == height % 2 == 0


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (DEFAULT_MODEL, "gen4.5"),
        ("gen4.5", "gen4.5"),
        ("luma", "ray-3.2"),
        ("luma-ray", "ray-3.2"),
        ("luma-dream-machine", "ray-2"),
        ("kling", "kling-3.0"),
        ("pika", "pika-2.2"),
        ("veo-3", "veo3.1"),
    ],
)
def test_the_public_names_of_older_systems_are_known(asked: str, found: str) -> None:
    assert SHIPPED.find(asked).name == found


def test_a_gateway_makes_a_model_only_when_it_is_named() -> None:
    named = SHIPPED.find("perf/runway-gen3")
    assert {route.provider for route in named.routes.values()} == {"perf"}
    unnamed = SHIPPED.find("runway-gen3")
    assert {route.provider for route in unnamed.routes.values()} == {"runway"}


def test_an_unknown_name_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(RequestRefused) as caught:
        SHIPPED.find("sora-1")
    assert (caught.value.type, caught.value.param) == ("invalid_request", "model")
    assert caught.value.message == (
        f"model must be one of {', '.join(SHIPPED.by_name)} (it is 'sora-1'); "
        "did you mean sora-2 or sora-2-pro or sora-2-2025-10-06?"
    )


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("runway-gen9", "runway-gen3 or runway-gen4.5 or runway-gen4-turbo"),
        ("VEO-3", "veo-3 or veo-3.1 or veo-3-fast"),
        ("perf/kling", "perf/ray-2 or perf/gen4.5 or perf/veo3.1"),
        ("zzz", None),
        ("so", None),
    ],
)
def test_a_refusal_names_what_begins_like_an_unknown_name(typed: str, meant: str | None) -> None:
    with pytest.raises(RequestRefused) as caught:
        SHIPPED.find(typed)

    _, _, guess = caught.value.message.partition("did you mean ")
    assert guess == (f"{meant}?" if meant else "")


def test_an_overlay_changes_only_what_it_says(tmp_path: Path) -> None:
    # Given a file with one price
    catalog = overlaid(
        tmp_path,
        '[models."gen4.5".routes.runway.price]\nusd_per_second = { 720p = "0.09" }\n',
    )
    # Then only that price differs
    ours = catalog.find("gen4.5").routes["runway"]
    shipped = SHIPPED.find("gen4.5").routes["runway"]
    assert str(ours.price.usd_per_second["720p"]) == "0.09"
    assert ours.model_copy(update={"price": shipped.price}) == shipped
    assert catalog.find("luma") == SHIPPED.find("luma")


def test_an_overlay_can_add_a_model(tmp_path: Path) -> None:
    text = """
[models.mine]
title = "Mine"
[models.mine.routes.luma_agents]
provider = "luma_agents"
upstream = "ray-4"
durations = [5]
duration = 5
resolution = "720p"
aspect_ratio = "16:9"
fps = 24
frames = { 720p = { "16:9" = "1280x720" } }
price = { usd_per_second = { 720p = "0.1" }, date = 2026-01-01, source = "mine" }
typical = { p10 = 1, p50 = 2, p90 = 3, source = "mine" }
"""
    assert overlaid(tmp_path, text).find("mine").routes["luma_agents"].upstream == "ray-4"


PATH = 'models."gen4.5"'
ROUTE = f"{PATH}.routes.runway"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"[{ROUTE}]\nfps = 0", ["model gen4.5: routes.runway.fps", "greater than or equal to 1"]),
        (f"[{ROUTE}]\nprovider = 'sora'", ["routes.runway.provider", "replicate, runway"]),
        (f"[{ROUTE}]\nduration = 60", ["model gen4.5: routes.runway", "one of durations"]),
        (f"[{ROUTE}]\nspeed = 1", ["model gen4.5: routes.runway.speed", "not permitted"]),
        (f"[{ROUTE}]\ncarries = ['sed']", ["model gen4.5: routes.runway.carries.0", "'seed'"]),
        (f"[{ROUTE}]\naspect_ratio = '2:1'", ["model gen4.5: routes.runway", "in frames"]),
        (f"[{ROUTE}.frames.720p]\n'1:1' = '960'", ["frames.720p.1:1", "WIDTHxHEIGHT"]),
        (f"[{ROUTE}.frames.4k]\n'16:9' = '3840x2160'", ["price.usd_per_second has no 4k"]),
        (f"[{ROUTE}.price]\nusd_per_second = {{ 720p = '-1' }}", ["usd_per_second.720p"]),
        (f"[{ROUTE}.typical]\np50 = 9999", ["routes.runway.typical", "must not decrease"]),
        ("[models.x]\ntitle = 'X'", ["model x: routes", "required"]),
        ("[models.x]\ntitle = 'X'\nroutes = 3", ["model x: routes"]),
        (f"[{PATH}]\naliases = ['luma']", ["the name luma belongs to both"]),
        ("[accounts.runway]\nteam = -1", ["accounts.runway.team: must be", "(it is -1)"]),
        ("[accounts.runway]\nteam = nan", ["from 0 to 1000000", "(it is nan)"]),
        ("[accounts.runway]\nteam = inf", ["(it is inf)"]),
        ("[accounts.runway]\nteam = 1e30", ["(it is 1e+30)"]),
        ("[accounts.runway]\nteam = true", ["(it is True)"]),
        ("[accounts.runway]\nteam = '1'", ["accounts.runway.team: must be a number"]),
        ("[accounts.runway]\nTeam = 1", ["Team", "1 to 32 of a-z, 0-9"]),
        ("[accounts.runway]\n'a.b' = 1", ["a.b", "1 to 32 of a-z, 0-9"]),
        ("[accounts.sora]\nteam = 1", ["accounts: sora: must be one of", "runway"]),
        ("[accounts]\nrunway = 1", ["accounts.runway"]),
        ("models = 3", ["models"]),
        ("[models", ["mine.toml is not TOML"]),
    ],
)
def test_a_wrong_overlay_is_told_by_model_and_field(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    with pytest.raises(CatalogError) as caught:
        overlaid(tmp_path, text)
    assert str(caught.value).startswith("LONGTAKE_CATALOG: ")
    for word in words:
        assert word in str(caught.value)


def test_a_missing_overlay_is_told_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"none\.toml can't be read: No such file"):
        Catalog.load(Settings(catalog=tmp_path / "none.toml"))


def test_a_combination_names_what_its_route_offers(tmp_path: Path) -> None:
    for wrong, told in (
        ('given = ["reference_images"], durations = [5]', "reference_images"),
        ('resolutions = ["8k"], durations = [5]', "8k"),
        ('given = ["image"], durations = [5, 11]', "11"),
    ):
        text = f'[models."gen4.5".routes.runway]\ncombinations = [{{ {wrong} }}]\n'
        with pytest.raises(CatalogError, match=f"gen4.5: .*combinations name {told}, which"):
            overlaid(tmp_path, text)


def test_the_type_of_a_reference_that_a_route_takes_is_a_known_one(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"reference_types.*should be 'subject', 'style' or"):
        overlaid(tmp_path, '[models."gen4.5".routes.runway]\nreference_types = ["mood"]\n')


def test_weights_are_of_accounts_by_their_full_names(tmp_path: Path) -> None:
    mine = overlaid(tmp_path, "[accounts.runway]\nplain = 0\nteam_a = 2.5")
    assert dict(mine.weights) == {"runway": 0.0, "runway:team_a": 2.5}
    assert [mine.weight(name) for name in ("runway", "runway:team_a", "runway:new")] == [0, 2.5, 1]
    assert dict(SHIPPED.weights) == {}
