"""The shop's three pages and its webhook."""

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_POST

from longtake import WebhookEvent
from longtake.django import generate_video, webhook
from shop.models import HandledEvent, Order


@require_GET
def shop(request: HttpRequest) -> HttpResponse:
    return render(request, "page.html", {"orders": Order.objects.all()[:100]})


@require_POST
def order(request: HttpRequest) -> HttpResponse:
    prompt = request.POST.get("prompt", "").strip()
    if not 1 <= len(prompt) <= 2000:  # noqa: PLR2004 - the form's
        return HttpResponse("a prompt has 1 to 2000 characters", status=400)
    with transaction.atomic():  # the request is sent when the order is kept
        result = generate_video.enqueue(prompt, model="luma")
        Order.objects.create(job=result.id, prompt=prompt)
    return redirect("show", result.id)


@require_GET
def show(request: HttpRequest, job: str) -> HttpResponse:
    found = get_object_or_404(Order, job=job)
    return render(request, "page.html", {"orders": [found], "waits": found.waits})


@webhook
def hear(request: HttpRequest, event: WebhookEvent) -> None:
    if not event.type.startswith("video."):
        return
    job = event.job
    with transaction.atomic():
        _, is_new = HandledEvent.objects.get_or_create(id=event.id)
        if is_new:
            Order.objects.filter(job=job.id).update(
                status=job.status,
                video_url=job.video_url or "",
                error=(job.error.message or "") if job.error else "",
            )
