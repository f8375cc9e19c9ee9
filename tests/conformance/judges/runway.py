"""Runway's judge: runwayml."""

from runwayml import RunwayML

from tests.conformance.judging import DATA, IMAGE, LAST, PROMPT, Case, Judge, ask

RUNWAY_TASK = {
    "id": "t1",
    "status": "RUNNING",
    "progress": 0.5,
    "createdAt": "2026-11-21T00:00:00Z",
    "estimatedCost": {"credits": 60},
}
RUNWAY_ACCEPTED = {"id": "t1", "estimatedCost": {"credits": 60}}

RUNWAY = Judge(
    credentials={"RUNWAYML_API_SECRET": "key_" + "0" * 128},
    base_path="",
    client=lambda url: RunwayML(api_key="key_" + "0" * 128, base_url=url, max_retries=0),
    cases=(
        Case(
            "submit text",
            sdk=lambda sdk: sdk.text_to_video.create(
                model="gen4.5", prompt_text=PROMPT, ratio="1280:720", duration=5, seed=0
            ),
            ours=lambda provider: provider.submit(ask(seed=0)),
            answer=RUNWAY_ACCEPTED,
        ),
        Case(
            "submit text with every option",
            sdk=lambda sdk: sdk.text_to_video.create(
                model="veo3.1",
                prompt_text=PROMPT,
                ratio="1080:1920",
                duration=8,
                seed=2**32 - 1,
                audio=False,
                negative_prompt="blur",
            ),
            ours=lambda provider: provider.submit(
                ask(
                    upstream="veo3.1",
                    duration_seconds=8,
                    width=1080,
                    height=1920,
                    seed=2**32 - 1,
                    audio=False,
                    negative_prompt="blur",
                )
            ),
            answer=RUNWAY_ACCEPTED,
        ),
        Case(
            "submit image",
            sdk=lambda sdk: sdk.image_to_video.create(
                model="gen4_turbo",
                prompt_image=IMAGE,
                prompt_text=PROMPT,
                ratio="832:1104",
                duration=10,
            ),
            ours=lambda provider: provider.submit(
                ask(
                    upstream="gen4_turbo",
                    image=IMAGE,
                    width=832,
                    height=1104,
                    duration_seconds=10,
                )
            ),
            answer=RUNWAY_ACCEPTED,
        ),
        Case(
            "submit first and last image",
            sdk=lambda sdk: sdk.image_to_video.create(
                model="veo3.1_fast",
                prompt_image=[
                    {"uri": DATA, "position": "first"},
                    {"uri": LAST, "position": "last"},
                ],
                prompt_text=PROMPT,
                ratio="1280:720",
                duration=4,
                audio=True,
            ),
            ours=lambda provider: provider.submit(
                ask(
                    upstream="veo3.1_fast",
                    image=DATA,
                    last_image=LAST,
                    duration_seconds=4,
                    audio=True,
                )
            ),
            answer=RUNWAY_ACCEPTED,
        ),
        Case(
            "poll",
            sdk=lambda sdk: sdk.tasks.retrieve("17f20503-6c24-4c16-946b-35dbbce2af2f"),
            ours=lambda provider: provider.poll(["17f20503-6c24-4c16-946b-35dbbce2af2f"]),
            answer=RUNWAY_TASK,
        ),
        Case(
            "cancel",
            sdk=lambda sdk: sdk.tasks.delete("17f20503-6c24-4c16-946b-35dbbce2af2f"),
            ours=lambda provider: provider.cancel("17f20503-6c24-4c16-946b-35dbbce2af2f"),
            status=204,
        ),
    ),
)
