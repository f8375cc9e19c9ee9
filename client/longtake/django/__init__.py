"""Longtake in a Django project: a backend of Django Tasks, verified webhooks, and the client."""

from typing import Any

from longtake.django.project import client
from longtake.django.webhooks import webhook

__all__ = ["LongtakeBackend", "client", "generate_video", "webhook"]


def __getattr__(name: str) -> Any:
    """The two that need the tasks framework; a project that only receives webhooks has none."""
    if name == "LongtakeBackend":
        from longtake.django.backend import LongtakeBackend  # noqa: PLC0415 - as said

        return LongtakeBackend
    if name == "generate_video":
        from longtake.django.tasks import generate_video  # noqa: PLC0415 - as said

        return generate_video
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
