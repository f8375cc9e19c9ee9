"""Lunos' judge: @lunos/client, a Node package."""

from tests.conformance.driving import LUNOS_CLIENT, driving
from tests.conformance.judging import PROMPT, Case, Judge, ask

ID = "video-op:user123:1703123456789"
MODEL = "google/veo-3.0-generate-preview"
PENDING = {"id": ID, "status": "pending"}
KEY = "lunos-test-key"


LUNOS = Judge(
    credentials={"LUNOS_API_KEY": KEY},
    base_path="",
    client=driving(LUNOS_CLIENT, KEY),
    cases=(
        Case(
            "submit text",
            sdk=lambda sdk: sdk.call("video.generate", {"prompt": PROMPT, "aspectRatio": "16:9"}),
            ours=lambda provider: provider.submit(ask(upstream=MODEL)),
            answer=PENDING,
        ),
        Case(
            "submit with a negative prompt",
            sdk=lambda sdk: sdk.call(
                "video.generateWidescreen",
                {"prompt": PROMPT, "model": MODEL, "negativePrompt": "cartoon, drawing"},
            ),
            ours=lambda provider: provider.submit(
                ask(upstream=MODEL, negative_prompt="cartoon, drawing")
            ),
            answer=PENDING,
        ),
        Case(
            "poll",
            sdk=lambda sdk: sdk.call("video.getVideoStatus", ID),
            ours=lambda provider: provider.poll([ID]),
            answer=PENDING,
        ),
    ),
)
