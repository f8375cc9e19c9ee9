"""Sign-in at the pages: links, sessions and their ends, forms of strangers, reading only."""

from typing import Any

import pytest

from api.pages.visits import token_of
from models.failure import RequestRefused
from models.keys import create_key, revoke_key
from models.page_sessions import create_link, end_sessions
from tests.integration.api.browsing import Browser, new_browser, new_link, signed_in
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.anyio


async def test_a_link_signs_one_browser_in_once(api: Api) -> None:
    link = await new_link(api)
    first, second = new_browser(api), new_browser(api)

    # Programs that preview links ask for them, and ask again.
    for browser in (first, first, second):
        assert "Sign in" in (await browser.open(link)).text
    begun = await first.send(link)
    again = await second.send(link)

    assert (begun.status_code, begun.headers["Location"]) == (303, "/ui/overview")
    assert (await first.open("/ui/jobs")).status_code == 200
    assert again.status_code == 404
    assert "used before" in again.text
    assert (await second.get("/ui/jobs")).status_code == 401
    assert (await first.get(link)).status_code == 404


async def test_a_double_click_begins_one_session_in_its_browser_alone(api: Api) -> None:
    link = await new_link(api)
    browser, other = new_browser(api), new_browser(api)
    await other.open(link)
    await browser.open(link)
    begins = dict(browser.http.cookies)

    # The second form was sent before the first one's answer was there.
    first = await browser.send(link)
    browser.http.cookies.update(begins)
    second = await browser.send(link)

    assert (first.status_code, second.status_code) == (303, 303)
    assert first.headers["set-cookie"] == second.headers["set-cookie"]
    assert (await browser.open("/ui/jobs")).status_code == 200
    assert (await other.send(link)).status_code == 404


async def test_a_cookie_is_kept_from_scripts_and_other_sites_and_only_its_hash_is_stored(
    api: Api,
) -> None:
    link = await new_link(api)
    browser = new_browser(api)
    await browser.open(link)
    begun = await browser.send(link)

    cookie = next(
        each for each in begun.headers.get_list("set-cookie") if each.startswith("longtake_ui=")
    )
    attributes = {each.strip().lower() for each in cookie.split(";")[1:]}
    assert {"httponly", "samesite=strict", "secure", "path=/ui"} <= attributes
    assert "max-age=43200" in attributes
    value = cookie.partition("=")[2].partition(";")[0]
    (row,) = await api.fetch("SELECT page_session::text AS row, hash, link_hash FROM page_session")
    assert value not in row["row"]
    assert link.rpartition("/")[2] not in row["row"]
    assert len(row["hash"]) == len(row["link_hash"]) == 32


@pytest.mark.parametrize(
    "ends",
    [
        "UPDATE page_session SET expires_at = now()",
        "UPDATE api_key SET revoked_at = now()",
        "UPDATE api_key SET expires_at = now()",
        "DELETE FROM api_key",
    ],
)
async def test_a_session_ends_at_its_time_and_with_its_key(api: Api, ends: str) -> None:
    key, _ = await api.front.engine.database.run(lambda connection: create_key(connection, "acme"))
    browser = await signed_in(api, key=key)
    await browser.open("/ui/overview")

    await api.fetch(ends)

    answer = await browser.get("/ui/overview")
    assert answer.status_code == 401
    assert "not signed in" in answer.text


async def test_a_session_ends_with_its_tenant_by_its_browser_and_by_an_operator(api: Api) -> None:
    await api.new_key("globex")
    of_globex = await signed_in(api, "globex")
    await api.fetch("DELETE FROM tenant WHERE id = 'globex'")
    leaving, other = await signed_in(api), await signed_in(api)

    assert (await leaving.send("/ui/out")).status_code == 200
    assert (await of_globex.get("/ui/jobs")).status_code == 401
    assert (await leaving.get("/ui/jobs")).status_code == 401
    assert (await other.get("/ui/jobs")).status_code == 200
    await api.front.engine.database.run(lambda connection: end_sessions(connection, "acme"))
    assert (await other.get("/ui/jobs")).status_code == 401


@pytest.mark.parametrize(
    ("options", "is_told"),
    [({}, False), ({"is_admin": True}, True), ({"is_admin": True, "is_read_only": True}, False)],
)
async def test_who_signs_in_is_told_what_the_session_changes(
    api: Api, options: Any, *, is_told: bool
) -> None:
    page = await new_browser(api).open(await new_link(api, **options))

    assert ("every provider" in page.text) is is_told


async def test_a_link_is_too_old_after_ten_minutes_or_without_its_key(api: Api) -> None:
    key, _ = await api.front.engine.database.run(lambda connection: create_key(connection, "acme"))
    old, revoked, browser = await new_link(api), await new_link(api, key=key), new_browser(api)
    await browser.open(old)
    await api.fetch("UPDATE page_session SET link_expires_at = now() WHERE api_key IS NULL")
    await api.front.engine.database.run(lambda connection: revoke_key(connection, key))

    for link in (old, revoked, "/ui/in/nonsense", "/ui/in/%00", "/ui/in/" + "é" * 43):
        assert (await browser.get(link)).status_code == 404
        assert (await browser.send(link)).status_code == 404


async def _forms(browser: Browser, job: str) -> list[int]:
    """What every form that changes something answers."""
    paths = ("/ui/jobs/confirm", "/ui/jobs/carry-out", f"/ui/jobs/{job}/cancel")
    more = (f"/ui/jobs/{job}/retry", f"/ui/jobs/{job}/delete")
    replay = f"/ui/jobs/{job}/deliveries/evt_1/replay"
    return [
        (await browser.send(path, job=job, action="cancel", once="1")).status_code
        for path in (*paths, *more, replay)
    ]


async def test_forms_without_the_sessions_own_token_change_nothing(api: Api) -> None:
    job = (await api.submit())["id"]
    browser, other = await signed_in(api), await signed_in(api)
    stolen = other.token
    assert stolen != browser.token
    before = await api.fetch("SELECT state, deleted_at FROM job")

    for token in ("", stolen, "é", browser.token[:-1]):
        browser.token = token
        assert await _forms(browser, job) == [403] * 6
    await browser.open("/ui/overview")
    cross = await browser.http.post(
        f"/ui/jobs/{job}/cancel",
        data={"csrf": browser.token},
        headers={"Sec-Fetch-Site": "cross-site"},
    )

    assert cross.status_code == 403
    assert await api.fetch("SELECT state, deleted_at FROM job") == before
    # The sign-in itself: another site can't sign a browser in as somebody of its own choice.
    link = await new_link(api)
    assert (await new_browser(api).send(link, token="")).status_code == 403
    assert (await browser.send(link, token=browser.token)).status_code == 403
    # Whoever knows the code makes the token of a browser that has no cookie yet.
    assert (await new_browser(api).send(link, token=token_of(""))).status_code == 403
    nothing = new_browser(api)
    nothing.http.cookies.set("longtake_ui_begins", "", path="/ui")
    assert (await nothing.send(link, token=token_of(""))).status_code == 403
    assert (await api.fetch("SELECT opened_at FROM page_session ORDER BY id DESC LIMIT 1")) == [
        {"opened_at": None}
    ]


async def test_a_session_that_only_reads_is_refused_every_form_but_signing_out(api: Api) -> None:
    job = (await api.submit())["id"]
    browser = await signed_in(api, is_read_only=True)
    page = await browser.open(f"/ui/jobs/{job}")

    assert await _forms(browser, job) == [403] * 6
    assert 'action="/ui/jobs' not in page.text
    assert (await api.fetch("SELECT state FROM job"))[0]["state"] == "pending"
    assert (await browser.send("/ui/out")).status_code == 200


async def test_wrong_cookies_and_links_are_counted_as_wrong_keys_are(api: Api) -> None:
    browser = new_browser(api)
    browser.http.cookies.set("longtake_ui", "x" * 43, path="/ui")

    statuses = [(await browser.get("/ui/jobs")).status_code for _ in range(70)]

    assert statuses[0] == 401
    assert statuses[-1] == 429
    good = await signed_in(api)
    assert (await good.get("/ui/jobs")).status_code == 200


async def test_links_are_refused_for_unknown_tenants_and_keys(api: Api) -> None:
    key, _ = await api.front.engine.database.run(
        lambda connection: create_key(connection, "globex")
    )

    async def refusal(tenant: str, **options: bool | str) -> str:
        with pytest.raises(RequestRefused) as raised:
            await api.front.engine.database.run(
                lambda connection: create_link(connection, tenant, **options)  # type: ignore[arg-type]
            )
        return str(raised.value)

    assert "there is no tenant 'nobody'" in await refusal("nobody")
    assert "no valid key" in await refusal("acme", key=key)
    assert "is no admin's" in await refusal("globex", key=key, is_admin=True)
    assert await api.fetch("SELECT id FROM page_session") == []
