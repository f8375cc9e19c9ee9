"""What the shop keeps: its orders, and which webhooks it has handled."""

from django.db import models


class Order(models.Model):
    """One video; `job` is the id of the task's result and of the job."""

    job = models.CharField(max_length=64, primary_key=True)
    prompt = models.TextField()
    status = models.CharField(max_length=16, default="pending")
    video_url = models.URLField(max_length=2000, blank=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return self.prompt

    @property
    def waits(self) -> bool:
        return self.status in {"pending", "processing"}


class HandledEvent(models.Model):
    """An event whose effects are kept; the same event may come again."""

    id = models.CharField(max_length=255, primary_key=True)

    def __str__(self) -> str:
        return self.id
