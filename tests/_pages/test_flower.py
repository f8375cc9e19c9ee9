"""Flower in a browser: a job is a task with a state, and no response contains its content."""

import re
from collections.abc import Iterator
from typing import Final

import pytest
from conftest import FLOWER_LOGIN, PICTURES, SHOWS_WITHIN, Receiver, Stack
from playwright.sync_api import Browser, Error, Page, Route, expect

#: A word in every confidential field of the request.
SECRET: Final = "swordfish-4711"
#: States of an unfinished job.
UNDER_WAY: Final = {"PENDING", "RECEIVED", "STARTED"}


@pytest.fixture
def received() -> list[str]:
    """Everything that the browser has received, headers and bodies."""
    return []


@pytest.fixture
def page(stack: Stack, browser: Browser, received: list[str]) -> Iterator[Page]:
    """A page that is logged in at Flower."""
    name, password = FLOWER_LOGIN
    context = browser.new_context(
        base_url=stack.flower,
        viewport={"width": 1440, "height": 900},
        http_credentials={"username": name, "password": password},
    )
    context.set_default_timeout(SHOWS_WITHIN)

    def pass_on(route: Route) -> None:
        # Browsers drop bodies when a page is left, so each is read before it is shown.
        answer = route.fetch()
        received.append(f"{answer.headers} {answer.text()}")
        route.fulfill(response=answer)

    context.route("**/*", pass_on)
    yield context.new_page()
    context.close()


def state_of(page: Page, job: str) -> str:
    """The current state of a job in Flower's list, or an empty string if it is not listed."""
    page.goto("/tasks?name=video.generation")
    expect(page.locator("#tasks-table tbody tr").first).to_be_visible()
    row = page.locator("#tasks-table tbody tr").filter(has_text=job)
    return row.locator(".badge").first.inner_text() if row.count() else ""


def test_a_job_goes_from_sent_to_success_and_no_response_contains_its_content(
    stack: Stack, receiver: Receiver, page: Page, received: list[str]
) -> None:
    receiver.status = 204
    job = stack.submit(
        f"a quiet sea, {SECRET}",
        webhook_url=f"{receiver.url}?token={SECRET}",
        webhook_secret=SECRET * 3,
        metadata={"order": SECRET},
    )
    seen: list[str] = []
    while "SUCCESS" not in seen:
        seen.append(state_of(page, job))
        assert len(seen) < 500, set(seen)
    assert UNDER_WAY & set(seen), seen
    assert set(seen) <= {"", *UNDER_WAY, "SUCCESS"}
    page.screenshot(path=PICTURES / "flower-tasks.png")

    page.get_by_role("link", name=job).first.click()
    page.wait_for_url(f"**/task/{job}")
    rows = page.locator(".task-data-row, .detail-row")
    expect(rows.filter(has_text="Status").locator(".badge")).to_have_text("SUCCESS")
    expect(rows.filter(has=page.get_by_text("Runtime", exact=True))).to_contain_text(
        re.compile(r"\d s\b")
    )
    expect(page.locator(".task-name-value")).to_have_text("video.generation")
    page.screenshot(path=PICTURES / "flower-task.png", full_page=True)

    page.goto("/")
    page.goto("/broker")
    page.wait_for_load_state("networkidle")
    assert any(job in each for each in received)
    assert [each for each in received if SECRET in each] == []


@pytest.mark.parametrize("path", ["/tasks", "/task/some-job", "/", "/broker"])
def test_nothing_is_shown_without_a_login(stack: Stack, browser: Browser, path: str) -> None:
    with (
        browser.new_context(base_url=stack.flower) as context,
        pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"),
    ):
        context.new_page().goto(path)
