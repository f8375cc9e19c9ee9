"""The pages of models show what `GET /v1/models` returns."""

import pytest

from tests.integration.api.browsing import signed_in
from tests.integration.api.conftest import Api
from tests.integration.api.test_pages_jobs import told

pytestmark = pytest.mark.anyio


async def test_every_model_is_listed_with_what_the_api_says_of_it(api: Api) -> None:
    models = (await api.http.get("/v1/models")).json()["data"]

    page = await (await signed_in(api)).open("/ui/models")

    text = told(page.text)
    for model in api.front.engine.catalog.models():
        assert f'href="/ui/models/{model.name}"' in page.text
    missing = next(each for each in models if each["set_to_use"] and "/" not in each["id"])
    assert missing["set_to_use"] in text
    available = [page.text.index(f"/ui/models/{name}") for name in ("gen4.5", missing["id"])]
    assert available == sorted(available)  # models that can be requested come first


async def test_a_models_page_has_its_limits_prices_and_providers(api: Api) -> None:
    models = (await api.http.get("/v1/models")).json()["data"]
    model = {each["id"]: each for each in models}["veo3.1"]
    browser = await signed_in(api)

    page = await browser.open("/ui/models/veo3.1")
    by_alias = await browser.open("/ui/models/google/veo3")
    by_provider = await browser.open("/ui/models/perf/veo3.1")

    text = told(page.text)
    for shown in (
        *model["limits"]["resolutions"],
        *model["limits"]["parameters"],
        *model["aliases"],
        model["price"]["date"],
        model["price"]["source"],
        *(each["id"] for each in models if each["id"].endswith("/veo3.1")),
    ):
        assert shown in text, shown
    assert by_alias.text == page.text == by_provider.text
    assert "providers/runway" not in page.text
    assert (await browser.get("/ui/models/no-such-model")).status_code == 404
    assert (await browser.get("/ui/models?status=x")).status_code == 400


async def test_prices_are_those_of_the_api_to_the_last_digit(api: Api) -> None:
    models = (await api.http.get("/v1/models")).json()["data"]
    browser = await signed_in(api)

    for model in models:
        prices = model["price"]["per_second"] | (model["price"]["per_second_with_audio"] or {})
        finer = [price for price in prices.values() if round(price, 2) != price]
        if finer and "/" not in model["id"]:
            text = told((await browser.open(f"/ui/models/{model['id']}")).text)
            assert all(f"${price} " in text for price in finer), (model["id"], finer)


async def test_accounts_and_learned_durations_are_for_operators(api: Api) -> None:
    await api.fetch(
        "INSERT INTO duration (route, p10, p50, p90, samples) VALUES "
        "('runway/gen4.5/5s', 31, 41, 61, 77), ('runway/gen4_turbo/5s', 12, 13, 14, 9)"
    )

    own = await (await signed_in(api)).open("/ui/models/gen4.5")
    admin = await (await signed_in(api, is_admin=True)).open("/ui/models/gen4.5")

    assert "runway/gen4.5/5s" not in own.text
    assert "/ui/providers/" not in own.text
    assert "runway/gen4.5/5s" in admin.text
    assert "runway/gen4_turbo/5s" not in admin.text
    assert 'href="/ui/providers/runway"' in admin.text


async def test_a_model_whose_accounts_are_all_paused_waits(api: Api) -> None:
    browser = await signed_in(api, is_admin=True)
    before = await browser.open("/ui/models/gen4.5")
    await api.fetch("INSERT INTO account_rule (name, paused_at) VALUES ('runway', now())")

    after = await browser.open("/ui/models/gen4.5")

    assert "s-complete" in before.text.split('id="limits"')[0]
    assert "s-warning" in after.text.split('id="limits"')[0]
