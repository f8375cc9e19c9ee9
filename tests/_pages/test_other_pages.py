"""Batches, webhooks, gates, usage and what operators see, in a browser."""

import json
from typing import Any

from conftest import Receiver, Screen, Stack, Visit, in_an_hour
from playwright.sync_api import expect


def new_batch(stack: Stack, *prompts: str, **options: Any) -> str:
    lines = [{"prompt": prompt} for prompt in prompts]
    answer = stack.api.post(
        "/v1/batches",
        data=json.dumps({"options": options, "requests": lines}),
        headers={"Content-Type": "application/json"},
    )
    assert answer.ok, answer.text()
    return str(answer.json()["id"])


def test_a_batch_is_cancelled_after_a_question_and_its_results_are_a_file(
    stack: Stack, visit: Visit
) -> None:
    batch = new_batch(
        stack, "a fox", "a hare", name="two animals", defaults={"run_at": in_an_hour()}
    )
    page = visit()
    page.goto("/ui/batches")
    page.get_by_role("link", name="two animals").first.click()

    page.get_by_text("Cancel…").click()
    page.get_by_role("button", name="Cancel this batch").click()
    expect(page.locator(".summary .s-cancelled")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Results").click()

    assert download.value.suggested_filename == f"{batch}.jsonl"
    assert len(download.value.path().read_text().splitlines()) == 2


def test_a_delivery_is_replayed_from_the_list(
    stack: Stack, visit: Visit, receiver: Receiver
) -> None:
    receiver.status = 500
    job = stack.submit("a vole at dusk", webhook_url=receiver.url)
    stack.ended(job)
    page = visit()
    page.goto(f"/ui/webhooks?job_id={job}")
    expect(page.locator(".tries").first).to_be_visible()
    receiver.status = 204

    page.get_by_role("button", name="Replay").click()

    expect(page.locator("tbody .s-complete")).to_be_visible()


def test_a_replay_is_within_reach_on_a_phone(
    stack: Stack, visit: Visit, receiver: Receiver
) -> None:
    receiver.status = 500
    job = stack.submit("a mole at noon", webhook_url=receiver.url)
    stack.ended(job)
    page = visit()
    page.set_viewport_size({"width": 390, "height": 844})

    page.goto(f"/ui/webhooks?job_id={job}")

    expect(page.locator(".tries").first).to_be_visible()
    box = page.get_by_role("button", name="Replay").bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 390


def test_a_gate_is_made_and_deleted(stack: Stack, visit: Visit) -> None:
    page = visit()
    page.goto("/ui/gates/new")
    page.get_by_label("Name").fill("by-hand")
    page.get_by_label("Model", exact=True).fill("pika")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name="by-hand")).to_be_visible()
    assert stack.api.get("/v1/gates/by-hand").json()["model"] == "pika"
    page.get_by_text("Delete…").click()
    page.get_by_role("button", name="Delete this gate").click()
    page.wait_for_url("**/ui/gates")

    assert stack.api.get("/v1/gates/by-hand").status == 404


def test_an_operator_pauses_and_resumes_a_provider(stack: Stack, visit: Visit) -> None:
    page = visit("--admin")
    page.goto("/ui/providers")
    page.get_by_role("link", name="kling", exact=True).click()

    page.get_by_text("Pause…").click()
    page.get_by_label("Reason, for operators").fill("vendor is down")
    page.get_by_role("button", name="Pause kling").click()
    expect(page.locator(".summary").get_by_text("vendor is down")).to_be_visible()
    page.get_by_role("button", name="Resume").click()

    expect(page.locator(".summary .s-complete")).to_be_visible()


def test_doctor_looks_and_every_worker_answers(stack: Stack, visit: Visit) -> None:
    page = visit("--admin")
    page.goto("/ui/doctor")
    page.get_by_role("button", name="Look now").click()
    expect(page.get_by_text("invariants in")).to_be_visible()

    page.goto("/ui/workers")
    expect(page.locator("tbody .s-complete").first).to_be_visible()
    assert page.get_by_text("No worker").count() == 0


def test_the_other_pages_read_well(stack: Stack, visit: Visit, screen: Screen) -> None:
    batch = new_batch(stack, "a fox", "", name="one <i>invalid</i> line", on_invalid="skip")
    page = visit("--admin", **screen.options)
    paths = {
        "batches": "/ui/batches",
        "batch": f"/ui/batches/{batch}",
        "webhooks": "/ui/webhooks",
        "gates": "/ui/gates",
        "gate": "/ui/gates/new",
        "usage": "/ui/usage",
        "usage-by-model": "/ui/usage?group_by=model",
        "providers": "/ui/providers",
        "provider": "/ui/providers/kling",
        "workers": "/ui/workers",
        "doctor": "/ui/doctor",
    }
    for name, path in paths.items():
        page.goto(path)
        page.get_by_role("heading", level=1).wait_for()
        screen.check(page, name)
