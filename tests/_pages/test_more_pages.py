"""Models, dead letters, the text filter, and a video's poster and sheet, in a browser."""

import json
import subprocess
from typing import Any

from conftest import ROOT, Screen, Stack, Visit, violations
from playwright.sync_api import expect

#: Accepts a message as a worker would.
TAKE_IN = """
import json, sys
from cli.database import with_engine
from tasks.letters import Letter, take_in
letter = Letter(task_id=sys.argv[1], args=(), kwargs=json.loads(sys.argv[2]))
with_engine(lambda engine: take_in(engine, letter))
"""


def refuse(stack: Stack, task_id: str, **request: Any) -> None:
    """Make a dead letter from an invalid request."""
    kwargs = json.dumps({"tenant": "default", "request": request})
    subprocess.run(
        [str(ROOT / ".venv/bin/python"), "-c", TAKE_IN, task_id, kwargs],
        env=stack.env,
        cwd=ROOT,
        check=True,
        timeout=60,
    )


def test_a_dead_letter_is_retried_and_says_why_it_stays(
    stack: Stack, visit: Visit, complaints: list[str]
) -> None:
    refuse(stack, "from-a-backend", prompt="a fox", fps="fast")
    page = visit()
    page.goto("/ui/letters")
    expect(page.get_by_text("fps should be a valid integer")).to_be_visible()
    assert page.get_by_text("a fox", exact=True).count() == 0

    button = page.get_by_role("button", name="Retry").first
    button.focus()
    page.keyboard.press("Enter")

    expect(page.get_by_role("alert")).to_contain_text("fps")
    assert violations(page) == []
    assert all("400" in each for each in complaints)  # the browser logs the refusal
    complaints.clear()


def test_a_models_page_is_reached_by_keyboard(stack: Stack, visit: Visit) -> None:
    page = visit()
    page.goto("/ui/models")
    page.get_by_role("link", name="veo3.1", exact=True).focus()
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="Google Veo 3.1")).to_be_visible()
    expect(page.get_by_role("heading", name="Prices")).to_be_visible()
    page.get_by_role("link", name="Jobs", exact=True).last.click()
    page.wait_for_url("**/ui/jobs?model=veo3.1")


def test_jobs_are_found_by_words_and_saved_as_a_file(stack: Stack, visit: Visit) -> None:
    job = stack.submit("a quokka on a windy beach")
    stack.submit("a quokka in the woods")
    page = visit()
    page.goto("/ui/jobs")
    page.get_by_label("Text").fill("BEACH quokka")
    page.keyboard.press("Enter")
    page.wait_for_url("**/ui/jobs?text=BEACH+quokka")

    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator(f"[id='{job}']")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert len(download.value.path().read_text().splitlines()) == 2
    page.get_by_label("Text").fill(job)
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(1)


def test_a_finished_video_has_a_poster_and_a_sheet(stack: Stack, visit: Visit) -> None:
    job = stack.submit("a marten in a tree")
    stack.ended(job)
    page = visit()

    with page.expect_response("**/videos/0/poster") as poster:
        page.goto(f"/ui/jobs/{job}")
    sheet = page.locator("img.sheet")
    sheet.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('img.sheet').naturalWidth > 600")

    assert (poster.value.status, poster.value.headers["content-type"]) == (200, "image/jpeg")
    assert page.locator("video").first.get_attribute("poster")


def test_these_pages_read_well(stack: Stack, visit: Visit, screen: Screen) -> None:
    refuse(stack, f"t-{screen.width}-{screen.scheme}", prompt="a fox", fps="fast")
    refuse(stack, f"u-{screen.width}-{screen.scheme}", prompt="")
    done = stack.submit("two martens in one tree", count=2)
    upright = stack.submit("a tall tree", aspect_ratio="9:16")
    for each in (done, upright):
        stack.ended(each)
    page = visit("--admin", **screen.options)
    paths = {
        "models": "/ui/models",
        "model": "/ui/models/veo3.1",
        "letters": "/ui/letters",
        "letters-none": "/ui/letters?tenant=nobody",
        "jobs-text": "/ui/jobs?text=martens",
        "jobs-text-none": "/ui/jobs?text=no+such+words",
        "job-stills": f"/ui/jobs/{done}",
        "job-upright": f"/ui/jobs/{upright}",
    }
    for name, path in paths.items():
        page.goto(path)
        page.get_by_role("heading", level=1).wait_for()
        for sheet in page.locator("img.sheet").all():
            sheet.scroll_into_view_if_needed()
            expect(sheet).to_have_js_property("complete", value=True)
        screen.check(page, name)
