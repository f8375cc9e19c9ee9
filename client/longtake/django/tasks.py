"""The task that every Longtake backend runs: `generate_video`."""

from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from longtake.django.backend import LongtakeBackend
from longtake.django.framework import task


def _alias() -> str:
    """The first of TASKS whose backend is ours."""
    for alias, params in getattr(settings, "TASKS", {}).items():
        found = import_string(params["BACKEND"])
        if isinstance(found, type) and issubclass(found, LongtakeBackend):
            return str(alias)
    msg = "TASKS has no backend longtake.django.LongtakeBackend, which generate_video runs on"
    raise ImproperlyConfigured(msg)


@task(backend=_alias())  # type: ignore[untyped-decorator] # Django has no types here
def generate_video(prompt: str, **fields: Any) -> dict[str, Any]:
    """One video of `prompt`; `fields` are those of `POST /v1/video/generations`.

    The return value is the job as the API shows it: `Job.of(result.return_value)`.
    """
    raise NotImplementedError("generate_video runs at Longtake: call generate_video.enqueue()")
