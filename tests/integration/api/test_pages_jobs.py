"""The pages of jobs: the list, one job, several at once, as files, and what strangers wrote."""

import csv
import io
import json
import re
import shlex
from html import unescape
from pathlib import Path

import pytest

from api.pages import jobs as pages_of_jobs
from models.verbs import What
from tasks import listing
from tests.integration.api.browsing import checked, new_browser, signed_in
from tests.integration.api.conftest import Api, other_settings
from tests.integration.api.stored import store_video

pytestmark = pytest.mark.anyio
HOSTILE = "<script>alert(1)</script> \"&amp;\u202egpj.exe\u2066 \x07</textarea>--><b x='y'>"
SECRET = "whsec_" + "c2VjcmV0LW9mLWFjbWUtYWxvbmU="
URL = "https://203.0.114.1:8443/hooks/video?token=nobodys-business"


def told(text: str) -> str:
    """A page's text without its tags."""
    return unescape(re.sub(r"<[^>]*>", " ", text))


async def test_the_list_shows_what_the_filters_of_its_address_match(api: Api) -> None:
    first = await api.submit(prompt="a fox at dawn")
    second = await api.submit(prompt="a hare at noon")
    await api.http.post(f"/v1/video/generations/{second['id']}/cancel")
    browser = await signed_in(api)

    every = await browser.open("/ui/jobs?status=&model=&app_id=")
    cancelled = await browser.open("/ui/jobs?status=cancelled")
    none = await browser.open("/ui/jobs?status=cancelled&model=pika")

    by_provider = await browser.open("/ui/jobs?provider=runway&since=2020-01-01")
    before = await browser.open("/ui/jobs?until=2020-01-01")

    assert "a fox at dawn" in by_provider.text
    assert "No job matches" in before.text
    assert [each in every.text for each in (first["id"], second["id"])] == [True, True]
    assert "a fox at dawn" not in cancelled.text
    assert "a hare at noon" in cancelled.text
    assert "No job matches" in none.text
    for wrong in (
        "status=nonsense",
        "nonsense=1",
        "limit=0",
        "tenant=*",
        "since=x",
        "limit=1&limit=2",
    ):
        answer = await browser.get(f"/ui/jobs?{wrong}")
        assert answer.status_code in {400, 401}, wrong
        assert answer.headers["content-type"] == "text/html; charset=utf-8"


async def test_the_list_goes_on_by_the_cursors_of_the_api(api: Api) -> None:
    ids = [(await api.submit(prompt=f"fox {n}"))["id"] for n in range(5)]
    browser = await signed_in(api)
    path, seen = "/ui/jobs?limit=2", list[str]()

    for _ in range(3):
        text = (await browser.open(path)).text
        seen += re.findall(r'<tr id="([^"]+)"', text)
        following = re.search(r'rel="next" href="([^"]+)"', text)
        path = unescape(following[1]) if following else ""

    assert seen == ids[::-1]
    assert path == ""


async def test_a_job_shows_its_life_its_money_and_its_webhook_without_secrets(api: Api) -> None:
    job = await api.submit(webhook_url=URL, webhook_secret=SECRET, metadata={"shot": 7})
    await api.http.post(f"/v1/video/generations/{job['id']}/cancel")
    (delivery,) = await api.fetch("SELECT id FROM delivery")
    await api.fetch(
        "INSERT INTO delivery_try (delivery, number, status, error, milliseconds) "
        "VALUES (%s, 1, NULL, 'connection refused', 12)",
        delivery["id"],
    )
    browser = await signed_in(api)

    page = await browser.open(f"/ui/jobs/{job['id']}")

    text = told(page.text)
    for shown in ("pending", "cancelled", "video.cancelled", "connection refused", "reserve"):
        assert shown in text
    assert "https://203.0.114.1:8443/hooks/video" in text
    assert '"shot": 7' in text
    assert "client.generate(" in text
    for secret in (SECRET, "nobodys-business", "signature=", "operator:", api.key):
        assert secret not in page.text
    assert page.headers["Cache-Control"] == "no-store"


async def test_what_names_accounts_and_our_costs_is_for_operators(api: Api) -> None:
    job = (await api.submit())["id"]
    await api.http.post(f"/v1/video/generations/{job}/cancel")
    (attempt,) = await api.fetch(
        "UPDATE attempt SET account = 'runway:team', operation_id = 'op-of-the-vendor' "
        "WHERE job = %s RETURNING id",
        job,
    )
    for account, micros in (("operator:absorbed", -70_000), ("operator:provider", 70_000)):
        await api.fetch(
            "INSERT INTO ledger_entry (entry_set, account, amount_micros, tenant, job, attempt) "
            "VALUES ('absorb ' || %s || ' 1', %s, %s, 'acme', %s, %s)",
            *(attempt["id"], account, micros, job, attempt["id"]),
        )
    await api.fetch(
        """INSERT INTO event (job, kind, detail) VALUES (%s, 'attempt.late', '{"a": "b"}')""", job
    )
    operators = ("runway:team", "op-of-the-vendor", "operator:absorbed", "attempt.late")

    own = await (await signed_in(api)).open(f"/ui/jobs/{job}")
    admin = await (await signed_in(api, is_admin=True)).open(f"/ui/jobs/{job}")

    assert [each for each in operators if each in own.text] == []
    assert [each for each in operators if each not in admin.text] == []
    assert "tenant:reserved" in own.text


async def test_what_a_page_does_is_done_by_the_use_cases_of_the_api(api: Api) -> None:
    job = (await api.submit(webhook_url=URL))["id"]
    browser = await signed_in(api)
    await browser.open(f"/ui/jobs/{job}")
    api.hints.sent.clear()

    cancelled = await browser.send(f"/ui/jobs/{job}/cancel")
    assert (cancelled.status_code, cancelled.headers["Location"]) == (303, f"/ui/jobs/{job}")
    assert (What.DELIVER, None) in api.hints.sent
    (delivery,) = await api.fetch("SELECT id FROM delivery")
    replayed = await browser.send(f"/ui/jobs/{job}/deliveries/{delivery['id']}/replay")
    assert replayed.status_code == 303
    retried = await browser.send(f"/ui/jobs/{job}/retry", once="a")
    again = await browser.send(f"/ui/jobs/{job}/retry", once="a")
    other = await browser.send(f"/ui/jobs/{job}/retry", once="b")
    assert retried.headers["Location"] == again.headers["Location"]
    assert other.headers["Location"] != again.headers["Location"]
    assert len(await api.fetch("SELECT id FROM job WHERE retry_of = %s", job)) == 2
    deleted = await browser.send(f"/ui/jobs/{job}/delete")
    assert deleted.headers["Location"] == "/ui/jobs"
    gone = await browser.get(f"/ui/jobs/{job}")
    assert gone.status_code == 404
    assert "was deleted on" in gone.text
    assert (await browser.send(f"/ui/jobs/{job}/retry", once="c")).status_code == 404


async def test_several_jobs_are_confirmed_with_their_number_and_money_before_they_change(
    api: Api,
) -> None:
    jobs = [(await api.submit(duration_seconds=5))["id"] for _ in range(3)]
    ended = (await api.submit())["id"]
    await api.http.post(f"/v1/video/generations/{ended}/cancel")
    browser = await signed_in(api)
    await browser.open("/ui/jobs")

    asked = await browser.send("/ui/jobs/confirm", action="cancel", job=[*jobs, ended, "job_nope"])
    checked(asked.text)
    text = told(asked.text)
    estimate = (await api.fetch("SELECT estimated_cost_micros AS m FROM job LIMIT 1"))[0]["m"]
    assert "Cancel 3 jobs?" in text
    assert f"${3 * estimate / 1e6:.2f}" in text
    assert "2 of the chosen are left out" in text
    assert {row["state"] for row in await api.fetch("SELECT state FROM job")} == {
        *("pending", "cancelled"),
    }
    done = await browser.send("/ui/jobs/carry-out", action="cancel", once="x", job=jobs)
    assert "3 jobs cancelled" in told(done.text)
    for _ in range(2):  # the form is sent twice
        retried = await browser.send(
            "/ui/jobs/carry-out", action="retry", once="x", job=[*jobs, "job_nope"]
        )
        assert "3 jobs submitted again" in told(retried.text)
        assert "1 was refused" in told(retried.text)
    assert len(await api.fetch("SELECT id FROM job WHERE retry_of IS NOT NULL")) == 3
    for wrong in ({"action": "erase", "job": jobs}, {"action": "cancel"}):
        assert (await browser.send("/ui/jobs/confirm", **wrong)).status_code == 400


async def test_tenants_see_and_change_their_own_and_an_admin_reads_all(api: Api) -> None:
    job = (await api.submit(prompt="a fox of acme", webhook_url=URL))["id"]
    await api.new_key("globex")
    other, admin = await signed_in(api, "globex"), await signed_in(api, "globex", is_admin=True)

    assert "a fox of acme" not in (await other.open("/ui/jobs")).text
    assert (await other.get("/ui/jobs?tenant=acme")).status_code == 401
    for path in (f"/ui/jobs/{job}", f"/ui/jobs/{job}/videos/0"):
        assert (await other.get(path)).status_code == 404
    assert "a fox of acme" not in (await other.open("/ui/jobs.csv")).text

    assert "a fox of acme" in (await admin.open("/ui/jobs")).text
    assert "a fox of acme" not in (await admin.open("/ui/jobs?tenant=globex")).text
    assert "a fox of acme" in (await admin.open(f"/ui/jobs/{job}")).text
    for browser in (other, admin):
        await browser.open("/ui/jobs")
        for what in ("cancel", "delete", "retry"):
            answer = await browser.send(f"/ui/jobs/{job}/{what}", once="1")
            assert answer.status_code == 404
        asked = await browser.send("/ui/jobs/confirm", action="cancel", job=job)
        assert "Cancel 0 jobs?" in told(asked.text)
        done = await browser.send("/ui/jobs/carry-out", action="cancel", job=job, once="1")
        assert "1 was refused" in told(done.text)
    assert (await api.fetch("SELECT state FROM job"))[0]["state"] == "pending"


async def test_what_strangers_wrote_is_text_in_every_place(api: Api) -> None:
    fields = {"prompt": HOSTILE.replace("\x07", ""), "metadata": {HOSTILE: HOSTILE}}
    answer = await api.http.post(
        "/v1/video/generations", json=fields, headers={"X-App-ID": "<b>app</b>"}
    )
    job = answer.json()["id"]
    await api.http.post(f"/v1/video/generations/{job}/cancel")
    await api.fetch(
        "UPDATE job SET error = jsonb_build_object('code', %s::text, 'message', %s::text)",
        *("<i>code</i>", "<img src=x onerror=alert(1)>\u202e"),
    )
    browser = await signed_in(api)

    for path in ("/ui/jobs", f"/ui/jobs/{job}"):
        page = await browser.open(path)  # which checks the page's tags
        for raw in ("<script>alert", "<b>app", "<i>code", "<img", "\u202e", "\u2066"):
            assert raw not in page.text
        assert "⟨U+202E⟩" in page.text
    asked = await browser.send("/ui/jobs/confirm", action="retry", job=job)
    checked(asked.text)
    assert "<script>alert" not in asked.text
    lost = await browser.get("/ui/<script>alert(1)</script>")
    assert (lost.status_code, "<script>alert" in lost.text) == (404, False)


async def test_the_file_has_the_same_jobs_and_no_formulas(api: Api) -> None:
    job = await api.submit(prompt="=HYPERLINK(1)")
    await api.submit(prompt='a "fox", twice\nover')
    browser = await signed_in(api)

    answer = await browser.open("/ui/jobs.csv?status=pending")

    assert answer.headers["content-disposition"] == 'attachment; filename="jobs.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["prompt"] for row in rows] == ['a "fox", twice\nover', "'=HYPERLINK(1)"]
    assert rows[1]["id"] == job["id"]
    assert rows[1]["tenant"] == "acme"


async def test_a_stored_video_is_played_from_the_pages_own_address(
    api: Api, tmp_path: Path
) -> None:
    job = await api.submit()
    await store_video(api, job["id"], b"0123456789", tmp_path)
    browser = await signed_in(api)

    page = await browser.open(f"/ui/jobs/{job['id']}")
    path = f"/ui/jobs/{job['id']}/videos/0"
    part = await browser.http.get(path, headers={"Range": "bytes=2-4"})

    assert f'src="{path}"' in page.text
    assert (part.status_code, part.content) == (206, b"234")
    assert (await new_browser(api).get(path)).status_code == 401


async def test_pages_have_a_strict_policy_and_head_404_and_405(api: Api) -> None:
    browser = await signed_in(api)
    for path, status in (("/ui/jobs", 200), ("/ui/nothing", 404), ("/ui/jobs/job_nope", 404)):
        got = await browser.get(path)
        headed = await browser.http.head(path)
        policy = got.headers["Content-Security-Policy"]
        assert got.status_code == headed.status_code == status
        assert headed.content == b""
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert got.headers["X-Frame-Options"] == "DENY"
        assert got.headers["X-Content-Type-Options"] == "nosniff"
    wrong = await browser.http.put("/ui/jobs")
    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "GET, HEAD")
    assert wrong.headers["content-type"].startswith("text/html")


async def test_links_begin_with_the_prefix_of_the_proxy(database_url: str, tmp_path: Path) -> None:
    async with other_settings(database_url, tmp_path, LONGTAKE_UI_PREFIX="/video/") as http:
        lost = await http.get("/ui/jobs")
        first = await http.get("/ui")

    assert first.headers["Location"] == "/video/ui/overview"
    addresses = re.findall(r'(?:href|src|action)="(/[^"]*)"', lost.text)
    assert addresses
    assert all(each.startswith("/video/ui/") for each in addresses)


async def test_an_attempt_that_was_not_paid_for_shows_no_price_to_operators(api: Api) -> None:
    job = (await api.submit())["id"]
    await api.fetch("UPDATE attempt SET estimate_micros = 987600, cost_micros = NULL")
    await api.fetch("UPDATE job SET estimated_cost_micros = 987600")
    admin, own = await signed_in(api, is_admin=True), await signed_in(api)

    rows = [
        " ".join(told((await each.open(f"/ui/jobs/{job}")).text).split()).partition("Attempts")[2]
        for each in (admin, own)
    ]

    paid, estimate = (row.partition("Webhooks")[0] for row in rows)
    assert "Paid" in paid
    assert "$0.99" not in paid
    assert "Estimate" in estimate
    assert "$0.99" in estimate


async def test_the_command_that_is_copied_is_the_jobs_own_request(api: Api) -> None:
    prompt = "a fox\u202e \u0085 and its 'den'"
    job = (await api.submit(prompt=prompt))["id"]
    page = await (await signed_in(api)).open(f"/ui/jobs/{job}")

    command = told(page.text.partition('id="as-curl"')[2].partition(">")[2].partition("</pre>")[0])

    body = shlex.split(command.replace("\\\n", ""))[-1]
    assert json.loads(body)["prompt"] == prompt


async def test_a_text_filters_the_list_its_file_and_the_apis_list(api: Api) -> None:
    fox = await api.submit(prompt="a fox at dawn")
    hare = await api.submit(prompt="a hare at dawn")
    browser = await signed_in(api)

    page = await browser.open("/ui/jobs?text=dawn+FOX")
    by_id = await browser.open(f"/ui/jobs?text={hare['id']}")
    none = await browser.open("/ui/jobs?text=%3Cscript%3E")
    file = await browser.get("/ui/jobs.csv?text=fox")
    listed = (await api.http.get("/v1/video/generations?text=fox dawn")).json()["data"]
    wrong = await api.http.get("/v1/video/generations?text=a b c d e f g h i j k")

    assert [fox["id"] in page.text, hare["id"] in page.text] == [True, False]
    assert 'value="dawn FOX"' in page.text
    assert "/ui/jobs.csv?text=dawn+FOX" in page.text
    assert [fox["id"] in by_id.text, "a hare at dawn" in by_id.text] == [False, True]
    assert "No job matches" in none.text
    assert 'value="&lt;script&gt;"' in none.text
    assert [row["id"] for row in csv.DictReader(io.StringIO(file.text))] == [fox["id"]]
    assert [job["id"] for job in listed] == [fox["id"]]
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "text")


async def test_a_file_of_a_rare_filter_asks_a_bounded_number_of_times(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.submit(prompt="a rare bird")
    for _ in range(4):
        await api.submit(prompt="a fox")
    monkeypatch.setattr(listing, "WALK", 1)
    browser = await signed_in(api)

    whole = await browser.get("/ui/jobs.csv?text=bird")
    monkeypatch.setattr(pages_of_jobs, "_MOST_QUESTIONS", 4)
    bounded = await browser.get("/ui/jobs.csv?text=bird")

    assert [len(each.text.splitlines()) for each in (whole, bounded)] == [2, 1]
