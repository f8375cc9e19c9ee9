"""Lunos' judge: @lunos/client 1.5.0, a Node package, as recorded (captured/lunos_client.json)."""

from tests.conformance.judging import Case, Judge, ask
from tests.conformance.replaying import captured, replaying

ID = "video-op:user123:1703123456789"
MODEL = "google/veo-3.0-generate-preview"
PENDING = {"id": ID, "status": "pending"}
CLIENT = captured("lunos_client.json")


LUNOS = Judge(
    credentials={"LUNOS_API_KEY": "lunos-test-key"},
    base_path="",
    client=replaying,
    cases=(
        Case(
            "submit text",
            sdk=lambda client: client.send(CLIENT["submit text"]),
            ours=lambda provider: provider.submit(ask(upstream=MODEL)),
            answer=PENDING,
        ),
        Case(
            "submit with a negative prompt",
            sdk=lambda client: client.send(CLIENT["submit with a negative prompt"]),
            ours=lambda provider: provider.submit(
                ask(upstream=MODEL, negative_prompt="cartoon, drawing")
            ),
            answer=PENDING,
        ),
        Case(
            "poll",
            sdk=lambda client: client.send(CLIENT["poll"]),
            ours=lambda provider: provider.poll([ID]),
            answer=PENDING,
        ),
    ),
)
