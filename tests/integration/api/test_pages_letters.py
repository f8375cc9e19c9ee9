"""The page of dead letters: the reason of each without its content, and its retry."""

from typing import Any

import pytest

from models.verbs import What
from tasks.forms import ENQUEUE_BATCH
from tasks.letters import Letter, take_in
from tests.integration.api.browsing import signed_in
from tests.integration.api.conftest import Api
from tests.integration.api.test_dead_letters import FOX, dead, letter, limit, listed, no_room
from tests.integration.api.test_pages_jobs import told

pytestmark = pytest.mark.anyio


async def test_dead_letters_are_shown_with_their_reason_and_without_what_was_sent(api: Api) -> None:
    browser = await signed_in(api)
    empty = await browser.open("/ui/letters")
    hostile = FOX | {"fps": "secret-of-its-sender"}
    one = await dead(api, request=hostile, job_id="mine", task_id="from-a-backend")
    wrong: dict[str, Any] = {"tenant": "acme", "requests": [FOX, {"prompt": ""}], "batch_id": "two"}
    await take_in(
        api.front.engine, Letter(form=ENQUEUE_BATCH, task_id="t-2", args=(), kwargs=wrong)
    )

    page = await browser.open("/ui/letters")

    assert "There are no dead letters" in empty.text
    text = told(page.text)
    for shown in ("fps should be a valid integer", "mine", "from-a-backend", "two", "line 2"):
        assert shown in text, shown
    assert f'id="{one["id"]}"' in page.text
    assert "secret-of-its-sender" not in page.text
    assert FOX["prompt"] not in page.text
    assert (await browser.get("/ui/letters?status=failed")).status_code == 400


async def test_a_tenant_sees_only_its_own_letters_page_by_page(api: Api) -> None:
    for number in range(3):
        await dead(api, task_id=f"t-{number}", request={})
    other = {"tenant": "globex", "request": {}}
    await take_in(api.front.engine, Letter(task_id="of-another", args=(), kwargs=other))

    own = await (await signed_in(api)).open("/ui/letters?limit=2")
    admin = await signed_in(api, is_admin=True)
    every = await admin.open("/ui/letters")

    assert ["t-2" in own.text, "t-0" in own.text, "of-another" in own.text] == [True, False, False]
    assert 'rel="next"' in own.text
    assert "of-another" in every.text
    assert "globex" in every.text
    assert "/ui/letters/" in every.text  # the tenant's own letters can be retried
    assert "of-another" not in (await admin.open("/ui/letters?tenant=acme")).text


async def test_a_letter_that_is_accepted_now_leads_to_its_job(api: Api) -> None:
    await no_room(api)
    one = await dead(api, request=FOX, job_id="mine")
    browser = await signed_in(api)
    await browser.open("/ui/letters")

    refused = await browser.send(f"/ui/letters/{one['id']}/retry")
    await limit(api, 2)
    api.hints.sent.clear()
    made = await browser.send(f"/ui/letters/{one['id']}/retry")

    assert refused.status_code == 429
    assert "concurrent_limit" in refused.text
    assert one["id"] in refused.text
    assert (made.status_code, made.headers["Location"]) == (303, "/ui/jobs/mine")
    assert any(what is What.SUBMIT for what, _ in api.hints.sent)
    assert await listed(api) == []
    assert (await browser.send(f"/ui/letters/{one['id']}/retry")).status_code == 404


async def test_a_retry_needs_the_forms_token_and_a_session_that_may_change_things(api: Api) -> None:
    await no_room(api)
    one = await dead(api, request=FOX, job_id="mine")
    await limit(api, 2)
    browser, reader = await signed_in(api), await signed_in(api, is_read_only=True)
    await browser.open("/ui/letters")
    seen = await reader.open("/ui/letters")

    forged = await browser.send(f"/ui/letters/{one['id']}/retry", token="x" * 43)
    read_only = await reader.send(f"/ui/letters/{one['id']}/retry")
    await api.fetch("INSERT INTO tenant (id) VALUES ('globex')")
    admin = await signed_in(api, tenant="globex", is_admin=True)
    others = await admin.send(f"/ui/letters/{one['id']}/retry")

    assert [forged.status_code, read_only.status_code, others.status_code] == [403, 403, 404]
    assert "/retry" not in seen.text
    assert len(await listed(api)) == 1


async def test_a_letter_that_was_too_large_says_so_and_has_no_button(api: Api) -> None:
    one = await dead(api, request=FOX | {"fps": "x"})
    await api.fetch("UPDATE intake_failure SET payload = NULL")
    browser = await signed_in(api)

    page = await browser.open("/ui/letters")
    answer = await browser.send(f"/ui/letters/{one['id']}/retry")

    assert "not kept" in page.text
    assert f"/ui/letters/{one['id']}/retry" not in page.text
    assert answer.status_code == 409
    assert "payload_not_kept" in answer.text


async def test_reasons_show_characters_that_would_hide_or_turn_text(api: Api) -> None:
    await take_in(api.front.engine, letter(request=FOX, job_id="mine", strange="x"))
    await api.fetch("UPDATE intake_failure SET message = %s", "<b>bold</b> \u202egpj")

    page = await (await signed_in(api)).open("/ui/letters")

    assert "&lt;b&gt;bold&lt;/b&gt; ⟨U+202E⟩gpj" in page.text
