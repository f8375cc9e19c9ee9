"""A backend of Django Tasks that sends requests to Longtake's broker and reads jobs over HTTP.

A result's id is given to the caller before the transaction commits, and must be the job's id. Only
the broker's task takes an id that its sender chose; the HTTP API chooses the id itself.
"""

import inspect
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.utils import timezone

from longtake.celery import enqueue
from longtake.django.framework import (
    BaseTaskBackend,
    InvalidTask,
    Task,
    TaskError,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_enqueued,
)
from longtake.django.project import client, configured, required
from longtake.errors import JobCancelled, JobFailed, NotFound
from longtake.results import Job
from longtake.sealing import sealed

#: The only task that is taken, which is not imported here: it needs its backend first.
TASK: Final = "longtake.django.tasks.generate_video"
_OPTIONS: Final = ("BROKER_URL", "TENANT", "DATABASE", "SEALING_KEY")
_STATUS: Final = {
    "pending": TaskResultStatus.READY,
    "processing": TaskResultStatus.RUNNING,
    "complete": TaskResultStatus.SUCCESSFUL,
    "failed": TaskResultStatus.FAILED,
    "cancelled": TaskResultStatus.FAILED,
}
_ERRORS: Final = {"failed": JobFailed, "cancelled": JobCancelled}


class LongtakeBackend(BaseTaskBackend):  # type: ignore[misc] # Django has no types here
    """Enqueues `generate_video`; `OPTIONS` are BROKER_URL, TENANT, DATABASE and SEALING_KEY.

    The message is sent when the transaction on DATABASE (default: `default`) commits, or at once
    outside of one. A broker that is away then raises `kombu.exceptions.OperationalError` to
    whoever committed: what was committed stays, and nothing was sent.

    Results are read where LONGTAKE has BASE_URL and API_KEY, whose tenant must be TENANT. With
    WEBHOOK_URL (and WEBHOOK_SECRET) requests without a `webhook_url` get it; the secret is then
    in the broker, unless SEALING_KEY seals the request: see `longtake.celery.enqueue`.
    """

    supports_defer = True
    supports_async_task = False
    supports_priority = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        for name in self.options:
            if name not in _OPTIONS:
                msg = f"OPTIONS has {name!r}; what it may have are {', '.join(_OPTIONS)}"
                raise ImproperlyConfigured(f"TASKS[{alias!r}]: {msg}")
        if not self.options.get("BROKER_URL"):
            raise ImproperlyConfigured(f"TASKS[{alias!r}]: OPTIONS['BROKER_URL'] must be set")
        self._check_sealing(self.options.get("SEALING_KEY"))

    def _check_sealing(self, key: object) -> None:
        """Seal nothing with it: after a commit it would be too late to find out that it fails."""
        if key is None:
            return
        where = f"TASKS[{self.alias!r}]: OPTIONS['SEALING_KEY']"
        if not isinstance(key, str):
            raise ImproperlyConfigured(f"{where}: must be text (it is {type(key).__name__})")
        try:
            sealed({}, key=key, task="", id_="", tenant="")
        except (RuntimeError, ValueError) as error:
            raise ImproperlyConfigured(f"{where}: {error}") from None

    @property
    def supports_get_result(self) -> bool:
        given = configured()
        return bool(given.get("BASE_URL") and given.get("API_KEY"))

    def validate_task(self, task: Task) -> None:
        """Refuse every task but `generate_video`; InvalidTask (the backport's InvalidTaskError)."""
        if task.module_path != TASK:
            msg = (
                f"{task.module_path} can't run on backend {self.alias!r}: Longtake makes videos, "
                f"and runs {TASK} alone"
            )
            raise InvalidTask(msg)
        super().validate_task(task)

    def enqueue(self, task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult:
        """Choose the job's id, which is the result's, and send the request on commit.

        Raises:
            TypeError: the arguments are not those of `generate_video`, or no JSON.
            InvalidTask: the task is another one.
        """
        self.validate_task(task)
        result = self._result(task, f"job_vid_{uuid.uuid4().hex}", args=args, kwargs=kwargs)
        bound = inspect.signature(task.func).bind(*result.args, **result.kwargs)
        request = {"prompt": bound.arguments["prompt"], **bound.arguments.get("fields", {})}
        for name, of_task in (("priority", "priority"), ("run_at", "run_after")):
            if name in request:
                msg = f"{name} is the task's: generate_video.using({of_task}=…).enqueue(…)"
                raise TypeError(msg)
        request |= {"priority": _priority(task.priority), **_run_at(task), **_webhook(request)}
        send = partial(self._send, request, result)
        transaction.on_commit(send, using=self.options.get("DATABASE"))
        return result

    def get_result(self, result_id: str) -> TaskResult:
        """The job as it is now.

        Raises:
            TaskResultDoesNotExist: there is no such job: it is not taken in yet, or was refused
                (`GET /v1/intake/failed`), or was deleted.
            LongtakeError: the API can't be asked.
        """
        if not self.supports_get_result:
            required("BASE_URL")
            required("API_KEY")
        try:
            with client() as api:
                job = api.get(result_id)
        except NotFound:
            raise TaskResultDoesNotExist(result_id) from None
        return self._read(job)

    def _send(self, request: Mapping[str, Any], result: TaskResult) -> None:
        tenant = self.options.get("TENANT", "default")
        enqueue(
            self.options["BROKER_URL"],
            request,
            job_id=result.id,
            tenant=tenant,
            sealing_key=self.options.get("SEALING_KEY"),
        )
        object.__setattr__(result, "enqueued_at", timezone.now())
        task_enqueued.send(type(self), task_result=result)

    def _read(self, job: Job) -> TaskResult:
        from longtake.django.tasks import generate_video  # noqa: PLC0415 - see TASK

        named = {"model": job.model} if job.model else {}
        result = self._result(
            generate_video.using(backend=self.alias),
            job.id,
            kwargs={"prompt": job.prompt, **named},
            status=_STATUS.get(job.status, TaskResultStatus.RUNNING),
            enqueued_at=job.created_at,
            finished_at=job.finished_at,
            errors=_errors(job),
        )
        if result.status == TaskResultStatus.SUCCESSFUL:
            object.__setattr__(result, "_return_value", dict(job.raw))
        return result

    def _result(
        self,
        task: Task,
        result_id: str,
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any],
        status: TaskResultStatus = TaskResultStatus.READY,
        enqueued_at: datetime | None = None,
        finished_at: datetime | None = None,
        errors: Sequence[TaskError] = (),
    ) -> TaskResult:
        """A result; when the job was started, and by whom, is Longtake's matter."""
        return TaskResult(
            task=task,
            id=result_id,
            status=status,
            enqueued_at=enqueued_at,
            started_at=None,
            finished_at=finished_at,
            last_attempted_at=None,
            args=list(args),
            kwargs=dict(kwargs),
            backend=self.alias,
            errors=list(errors),
            worker_ids=[],
        )


def _priority(number: int) -> str:
    """Django has 201 of them, Longtake three."""
    if number == 0:
        return "normal"
    return "high" if number > 0 else "low"


def _run_at(task: Task) -> dict[str, str]:
    """Without time zones in the project a time is local."""
    if task.run_after is None:
        return {}
    return {"run_at": task.run_after.astimezone(UTC).isoformat()}


def _webhook(request: Mapping[str, Any]) -> dict[str, str]:
    """LONGTAKE's webhook, unless the request has one; of several secrets the first signs."""
    given = configured()
    if "webhook_url" in request or not given.get("WEBHOOK_URL"):
        return {}
    found = {"webhook_url": given["WEBHOOK_URL"]}
    secret = given.get("WEBHOOK_SECRET")
    if secret:
        found["webhook_secret"] = secret if isinstance(secret, str) else secret[0]
    return found


def _errors(job: Job) -> list[TaskError]:
    if job.status not in _ERRORS:
        return []
    kind = _ERRORS[job.status]
    path = f"{kind.__module__}.{kind.__qualname__}"
    return [TaskError(exception_class_path=path, traceback=f"{path}: {kind(job)}")]
