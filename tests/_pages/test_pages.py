"""Pages in a browser: they live without a reload, play, act, and read well at every size."""

from conftest import Receiver, Screen, Stack, Visit, in_an_hour
from playwright.sync_api import Page, expect

#: What a script of the page would have forgotten after a reload.
MARK = "window.wasHere = true"
IS_MARKED = "window.wasHere === true"


def is_marked(page: Page) -> bool:
    return bool(page.evaluate(IS_MARKED))


def test_a_job_is_watched_to_its_video_which_plays_on(
    stack: Stack, visit: Visit, receiver: Receiver
) -> None:
    receiver.status = 500
    page = visit()
    job = stack.submit("a fox at dawn", webhook_url=receiver.url)
    page.goto(f"/ui/jobs/{job}")
    page.evaluate(MARK)

    expect(page.locator(".summary .s-complete")).to_be_visible()
    video = page.locator("video").first
    expect(video).to_be_visible()
    assert is_marked(page)

    # What happens to its webhook changes the page, and not the film.
    video.evaluate("async video => { video.loop = true; video.muted = true; await video.play(); }")
    video.evaluate(
        "video => { video.isTheSame = true; window.stops = 0; "
        "for (const name of ['pause', 'emptied', 'loadstart']) "
        "video.addEventListener(name, () => { window.stops += 1; }); }"
    )
    tries = page.locator(".card tbody tr")
    expect(tries.first).to_be_visible()
    receiver.status = 204
    (delivery,) = stack.api.get(f"/v1/webhooks/deliveries?job_id={job}").json()["data"]
    stack.api.post(f"/v1/webhooks/deliveries/{delivery['id']}/replay")
    expect(page.locator(".card .s-complete")).to_be_visible()

    assert is_marked(page)
    assert video.evaluate("video => video.isTheSame === true && !video.paused")
    assert page.evaluate("window.stops") == 0
    before = video.evaluate("video => video.played.length && video.currentTime")
    page.wait_for_function(
        "before => Math.abs(document.querySelector('video').currentTime - before) > 0.1", arg=before
    )


def test_a_failed_delivery_is_replayed(stack: Stack, visit: Visit, receiver: Receiver) -> None:
    receiver.status = 500
    job = stack.submit("a hare at noon", webhook_url=receiver.url)
    stack.ended(job)
    page = visit()
    page.goto(f"/ui/jobs/{job}")
    expect(page.locator(".card tbody tr").first).to_be_visible()
    receiver.status = 204
    before = len(receiver.bodies)

    page.get_by_role("button", name="Replay").click()

    expect(page.locator(".card .s-complete")).to_be_visible()
    assert len(receiver.bodies) > before


def test_a_job_is_cancelled_after_a_question_and_submitted_again(
    stack: Stack, visit: Visit
) -> None:
    job = stack.submit("an owl at night", run_at=in_an_hour())
    page = visit()
    page.goto(f"/ui/jobs/{job}")

    page.get_by_text("Cancel…").click()
    page.get_by_role("button", name="Cancel this job").click()
    expect(page.locator(".summary .s-cancelled")).to_be_visible()
    page.get_by_text("Retry as new…").click()
    page.get_by_role("button", name="Submit it again").click()
    expect(page.get_by_text("retry of")).to_be_visible()

    assert job not in page.url
    assert stack.job(page.url.rpartition("/")[2])["retry_of"] == job


def test_jobs_are_filtered_chosen_and_retried_together(stack: Stack, visit: Visit) -> None:
    jobs = [stack.submit(f"a wren, take {n}", model="veo-3", duration_seconds=8) for n in range(3)]
    for job in jobs:
        stack.api.post(f"/v1/video/generations/{job}/cancel")
    page = visit()
    page.goto("/ui/jobs")
    page.get_by_label("Status").select_option("cancelled")
    page.get_by_role("button", name="Filter").click()
    page.wait_for_url("**/ui/jobs?status=cancelled")
    for job in jobs:
        page.get_by_label(f"Choose {job}").check()
    expect(page.get_by_text("3 chosen:")).to_be_visible()

    page.get_by_role("button", name="Retry…").click()
    expect(page.get_by_role("heading", name="Retry 3 jobs?")).to_be_visible()
    page.get_by_role("button", name="Retry 3 jobs").click()

    expect(page.get_by_role("heading", name="3 jobs submitted again")).to_be_visible()


def test_a_paused_page_stays_until_it_is_live_again(stack: Stack, visit: Visit) -> None:
    page = visit()
    page.goto("/ui/jobs")
    live = page.get_by_role("button", name="Live")
    live.click()
    job = stack.submit("a crane in the rain")
    other = visit()
    other.goto("/ui/jobs")
    expect(other.locator(f"[id='{job}']")).to_be_visible()
    stack.ended(job)
    expect(other.locator(f"[id='{job}'] .s-complete")).to_be_visible()

    assert page.locator(f"[id='{job}']").count() == 0
    page.get_by_role("button", name="Paused").click()
    expect(page.locator(f"[id='{job}']")).to_be_visible()


#: Makes a tab think that it is behind another one until it is told otherwise.
BEHIND = """window.isBehind = true;
Object.defineProperty(document, "hidden", { get: () => window.isBehind });"""
IN_FRONT = "window.isBehind = false; document.dispatchEvent(new Event('visibilitychange'))"


def test_a_tab_has_a_stream_only_while_it_is_looked_at_and_there_is_news(
    stack: Stack, visit: Visit
) -> None:
    page = visit()
    # Browsers open six connections to a host: tabs that were opened behind take none of them.
    for _ in range(7):
        behind = page.context.new_page()
        behind.add_init_script(BEHIND)
        behind.goto("/ui/jobs")
    streams: list[str] = []
    behind.on("request", lambda sent: streams.append(sent.url) if "/ui/live" in sent.url else None)
    job = stack.submit("a mole in the evening", model="veo-3", duration_seconds=8)
    behind.goto(f"/ui/jobs/{job}")
    page.goto("/ui/jobs")
    expect(page.locator(f"[id='{job}']")).to_be_visible()
    assert streams == []

    behind.evaluate(IN_FRONT)
    expect(behind.locator(".summary .s-complete")).to_be_visible()
    assert len(streams) == 1
    # It has ended, and nothing more will happen to it.
    expect(behind.locator("#live")).to_have_count(0)
    expect(behind.locator("[data-live]")).to_have_count(0)


def test_what_is_typed_stays_while_the_page_changes(stack: Stack, visit: Visit) -> None:
    page = visit("--admin")
    page.goto("/ui/jobs")
    page.get_by_label("App").fill("half a wo")
    job = stack.submit("a newt in a pond")
    expect(page.locator(f"[id='{job}']")).to_be_visible()

    assert page.get_by_label("App").input_value() == "half a wo"


def test_a_tab_whose_session_ended_says_so_and_asks_no_more(
    stack: Stack, visit: Visit, complaints: list[str]
) -> None:
    page = visit()
    page.goto("/ui/jobs")
    expect(page.locator("#live")).to_have_count(1)
    page.context.new_page().goto("/ui/gates")
    page.context.pages[-1].get_by_role("button", name="Sign out").click()

    expect(page.get_by_role("heading", name="You are not signed in")).to_be_visible()
    expect(page.locator("#live")).to_have_count(0)
    # One for each request that was refused: the page, and at most one more stream.
    assert 1 <= len(complaints) <= 2
    assert all("401" in each for each in complaints)
    complaints.clear()


def test_a_keyboard_is_enough(stack: Stack, visit: Visit) -> None:
    job = stack.submit("a lynx in snow")
    page = visit()
    page.goto("/ui/jobs")
    page.keyboard.press("Tab")
    expect(page.get_by_text("To the content")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.getAttribute('href')") == f"/ui/jobs/{job}":
            break
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/ui/jobs/{job}")


def test_every_page_reads_well(stack: Stack, visit: Visit, screen: Screen) -> None:
    done = stack.submit("two foxes, <b>one</b> prompt", count=2, metadata={"shot": 7})
    stack.ended(done)
    running = stack.submit("a heron, which takes its time", model="veo-3", duration_seconds=8)
    page = visit("--admin", **screen.options)
    paths = {
        "overview": "/ui/overview",
        "jobs": "/ui/jobs",
        "job": f"/ui/jobs/{done}",
        "running": f"/ui/jobs/{running}",
    }
    for name, path in paths.items():
        page.goto(path)
        page.get_by_role("button", name="Live").or_(page.locator("video").first).first.wait_for()
        screen.check(page, name)
