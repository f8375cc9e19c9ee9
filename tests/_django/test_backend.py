"""The tasks backend: what is sent and when, what is refused, and what a result says."""

import asyncio
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.test import override_settings

from longtake import Job, JobCancelled, JobFailed
from longtake.django import LongtakeBackend, generate_video
from longtake.django.framework import (
    InvalidTask,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task,
    task_backends,
    task_enqueued,
)
from tests._django.conftest import BACKEND, SECRET, Api, Broker

HOOK = "https://shop.example/hook"


def another(prompt: str) -> str:
    return prompt


def view(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "job_vid_1", "status": status, "prompt": "A fox", "model": "luma", **more}


def configured(api: Api) -> override_settings:
    return override_settings(LONGTAKE={"BASE_URL": api.url, "API_KEY": "lt_key"})


def test_a_request_is_sent_when_its_transaction_commits(broker: Broker) -> None:
    told = []
    task_enqueued.connect(catch := lambda task_result, **_: told.append(task_result.id))

    with transaction.atomic():
        result = generate_video.enqueue("A fox", model="luma", duration_seconds=5)
        assert (broker.messages(), result.enqueued_at) == ([], None)

    (message,) = broker.messages()
    assert message["job_id"] == result.id
    assert message["tenant"] == "acme"
    assert message["request"] == {
        "prompt": "A fox",
        "model": "luma",
        "duration_seconds": 5,
        "priority": "normal",
    }
    assert told == [result.id]
    assert result.enqueued_at is not None
    assert result.status == TaskResultStatus.READY
    assert len(result.id) <= 64
    task_enqueued.disconnect(catch)


def test_a_transaction_that_rolls_back_sends_nothing(broker: Broker) -> None:
    with transaction.atomic():
        generate_video.enqueue("A fox")
        transaction.set_rollback(True)

    assert broker.messages() == []


def test_outside_of_a_transaction_it_is_sent_at_once(broker: Broker) -> None:
    ids = [generate_video.enqueue("A fox").id, asyncio.run(generate_video.aenqueue("A fox")).id]

    assert [message["job_id"] for message in broker.messages()] == ids


@pytest.mark.parametrize(
    ("number", "word"), [(-100, "low"), (-1, "low"), (0, "normal"), (1, "high"), (100, "high")]
)
def test_priorities_and_times_are_mapped(broker: Broker, number: int, word: str) -> None:
    at = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)

    generate_video.using(priority=number, run_after=at).enqueue("A fox")

    (message,) = broker.messages()
    assert message["request"]["priority"] == word
    assert message["request"]["run_at"] == "2030-01-02T03:04:00+00:00"


def test_the_projects_webhook_is_added_to_requests_without_one(broker: Broker) -> None:
    with override_settings(LONGTAKE={"WEBHOOK_URL": HOOK, "WEBHOOK_SECRET": [SECRET, "old"]}):
        generate_video.enqueue("A fox")
        generate_video.enqueue("A fox", webhook_url="https://other.example/")

    with_ours, with_its_own = (message["request"] for message in broker.messages())
    assert (with_ours["webhook_url"], with_ours["webhook_secret"]) == (HOOK, SECRET)
    assert with_its_own["webhook_url"] == "https://other.example/"
    assert "webhook_secret" not in with_its_own


def test_other_functions_are_refused() -> None:
    with pytest.raises(InvalidTask, match=r"another can't run on backend 'default'"):
        task(another)


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        ((), {}, "prompt"),
        (("A fox", "luma"), {}, "too many positional"),
        (("A fox",), {"image": object()}, "type"),
        (("A fox",), {"priority": "high"}, r"using\(priority="),
        (("A fox",), {"run_at": "2030-01-01T00:00:00Z"}, r"using\(run_after="),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_sent(
    broker: Broker, args: tuple[Any, ...], kwargs: dict[str, Any], said: str
) -> None:
    with pytest.raises(TypeError, match=said):
        generate_video.enqueue(*args, **kwargs)

    assert broker.messages() == []


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("pending", TaskResultStatus.READY),
        ("processing", TaskResultStatus.RUNNING),
        ("complete", TaskResultStatus.SUCCESSFUL),
        ("failed", TaskResultStatus.FAILED),
        ("cancelled", TaskResultStatus.FAILED),
    ],
)
def test_a_result_says_what_the_job_says(api: Api, status: str, expected: str) -> None:
    path = "/v1/video/generations/job_vid_1"
    api.jobs[path] = view(status, created_at="2030-01-02T03:04:05Z")

    with configured(api):
        result = generate_video.get_result("job_vid_1")

    assert result.status == expected
    assert result.kwargs == {"prompt": "A fox", "model": "luma"}
    assert result.enqueued_at == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert api.keys == ["Bearer lt_key"]


def test_the_value_of_a_complete_job_is_the_job(api: Api) -> None:
    api.jobs["/v1/video/generations/job_vid_1"] = view("complete", cost_usd=0.25)

    with configured(api):
        result = asyncio.run(generate_video.aget_result("job_vid_1"))

    assert Job.of(result.return_value).cost_usd == 0.25


@pytest.mark.parametrize(
    ("status", "kind", "said"),
    [("failed", JobFailed, "no nudity"), ("cancelled", JobCancelled, "job_vid_1")],
)
def test_a_job_without_a_video_says_why(
    api: Api, status: str, kind: type[Exception], said: str
) -> None:
    problem = {"code": "content_policy", "message": "no nudity"}
    api.jobs["/v1/video/generations/job_vid_1"] = view(status, error=problem)

    with configured(api):
        result = generate_video.get_result("job_vid_1")

    (error,) = result.errors
    assert error.exception_class is kind
    assert said in error.traceback
    with pytest.raises(ValueError, match="failed"):
        _ = result.return_value


def test_a_job_that_is_not_there_is_no_result(api: Api) -> None:
    with configured(api), pytest.raises(TaskResultDoesNotExist, match="job_vid_2"):
        generate_video.get_result("job_vid_2")


def test_an_enqueued_result_is_refreshed(api: Api, broker: Broker) -> None:
    result = generate_video.enqueue("A fox")
    api.jobs[f"/v1/video/generations/{result.id}"] = view("complete", id=result.id)

    with configured(api):
        result.refresh()

    assert result.is_finished
    assert result.return_value["id"] == result.id


def test_what_it_supports_is_what_is_configured(api: Api) -> None:
    backend = task_backends["default"]
    assert isinstance(backend, LongtakeBackend)
    assert (backend.supports_defer, backend.supports_priority) == (True, True)
    assert not backend.supports_async_task
    assert not backend.supports_get_result
    with pytest.raises(ImproperlyConfigured, match="BASE_URL"):
        backend.get_result("job_vid_1")

    with configured(api):
        assert backend.supports_get_result


@pytest.mark.parametrize(
    ("options", "said"),
    [({}, "BROKER_URL"), ({"BROKER_URL": "memory://", "TENNANT": "acme"}, "TENNANT")],
)
def test_wrong_options_are_named(options: dict[str, str], said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=said):
        LongtakeBackend("default", BACKEND | {"OPTIONS": options})


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("", "43 characters"),
        ("ltseal_short", "43 characters"),
        (b"ltseal_" + b"A" * 43, "must be text"),
        ("ltseal_" + "A" * 43, r"longtake\[seal\]"),
    ],
)
def test_a_key_that_can_seal_nothing_is_named_before_any_commit(
    monkeypatch: pytest.MonkeyPatch, key: Any, said: str
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)  # without the extra

    with pytest.raises(ImproperlyConfigured, match=rf"OPTIONS\['SEALING_KEY'\]: .*{said}"):
        LongtakeBackend("default", BACKEND | {"OPTIONS": {"BROKER_URL": "x", "SEALING_KEY": key}})


def test_calling_the_task_here_says_where_it_runs() -> None:
    with pytest.raises(NotImplementedError, match="enqueue"):
        generate_video.call("A fox")
