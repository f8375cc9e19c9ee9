"""The pages of gates: made, changed and deleted by forms that say what is wrong with them."""

import re
from html import unescape
from typing import Any

import pytest

from tests.integration.api.browsing import Browser, signed_in
from tests.integration.api.conftest import Api
from tests.integration.api.test_pages_jobs import told

pytestmark = pytest.mark.anyio
SHOP: dict[str, Any] = {
    "name": "shop",
    "model": "runway-gen3",
    "strategy": "fallback",
    "fallback_models": " gen4_turbo \r\n\r\n",
    "allows": "chosen",
    "overrides": ["model", "duration_seconds"],
    "spending_limit_usd": "12.50",
}


def held(text: str) -> dict[str, str]:
    """The text fields of a page's form."""
    return {
        name: unescape(value)
        for name, value in re.findall(r'<input name="(\w+)"[^>]* value="([^"]*)"', text)
    }


async def gate_of(api: Api, name: str = "shop") -> dict[str, Any]:
    answer = await api.http.get(f"/v1/gates/{name}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def new_gate(api: Api, browser: Browser) -> str:
    await browser.open("/ui/gates/new")
    answer = await browser.send("/ui/gates", **SHOP)
    assert answer.status_code == 303, told(answer.text)
    return str((await gate_of(api))["id"])


async def test_a_gate_is_created_shown_replaced_and_deleted(api: Api) -> None:
    browser = await signed_in(api)
    gate = await new_gate(api, browser)

    made = await gate_of(api)
    assert (made["strategy"], made["fallback_models"]) == ("fallback", ["gen4_turbo"])
    assert sorted(made["overrides"]) == ["duration_seconds", "model"]
    assert made["spending_limit_usd"] == 12.5
    shown = await browser.open(f"/ui/gates/{gate}")
    assert held(shown.text) | {"csrf": ""} == {
        "csrf": "",
        "name": "shop",
        "model": "runway-gen3",
        "spending_limit_usd": "12.5",
    }
    assert "gen4_turbo" in (await browser.open("/ui/gates")).text

    changed = {"strategy": "single", "fallback_models": "", "allows": "none"}
    same = {**SHOP, **changed, "spending_limit_usd": ""}
    assert (await browser.send(f"/ui/gates/{gate}", **same)).status_code == 303
    replaced = await gate_of(api)
    assert (replaced["strategy"], replaced["overrides"]) == ("single", "none")
    assert replaced["spending_limit_usd"] is None

    assert (await browser.send(f"/ui/gates/{gate}/delete")).headers["Location"] == "/ui/gates"
    assert (await browser.get(f"/ui/gates/{gate}")).status_code == 404


async def test_what_is_wrong_is_said_in_the_form_which_keeps_what_was_typed(api: Api) -> None:
    browser = await signed_in(api)
    gate = await new_gate(api, browser)
    hostile = '"><script>alert(1)</script>\u202e'

    for fields, status, words in (
        ({"name": "other", "model": "nobody"}, 400, "must be one of"),
        ({"name": hostile}, 400, "letters, digits"),
        ({"name": "other", "spending_limit_usd": "much"}, 400, "a number of US dollars"),
        ({"name": "other", "spending_limit_usd": "nan"}, 400, "spending_limit_usd"),
        ({"name": "other", "allows": "some"}, 400, "allows must be"),
        ({"name": "other", "strategy": "single"}, 400, "must be fallback or round-robin"),
        ({}, 409, "you have another gate"),
    ):
        answer = await browser.send("/ui/gates", **{**SHOP, **fields})
        assert answer.status_code == status, fields
        assert words in told(answer.text), fields
        assert "<script>alert" not in answer.text
        assert held(answer.text)["name"] == fields.get("name", "shop")
    wrong = await browser.send(f"/ui/gates/{gate}", **{**SHOP, "model": "nobody"})
    assert wrong.status_code == 400
    assert 'aria-invalid="true"' in wrong.text
    assert (await gate_of(api))["model"] == "runway-gen3"


async def test_gates_are_a_tenants_own_and_readers_change_none(api: Api) -> None:
    gate = await new_gate(api, await signed_in(api))
    await api.new_key("globex")
    stranger = await signed_in(api, "globex")
    reader = await signed_in(api, is_read_only=True)

    assert "shop" not in told((await stranger.open("/ui/gates")).text)
    assert (await stranger.get(f"/ui/gates/{gate}")).status_code == 404
    for path in (f"/ui/gates/{gate}", f"/ui/gates/{gate}/delete"):
        assert (await stranger.send(path, **SHOP)).status_code == 404
        assert (await reader.send(path, **SHOP)).status_code == 403
    seen = await reader.open(f"/ui/gates/{gate}")
    assert "<fieldset disabled>" in seen.text
    assert "Delete" not in told(seen.text)
    assert (await gate_of(api))["id"] == gate
