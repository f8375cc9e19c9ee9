"""Veo on Google Cloud (Vertex AI, now Agent Platform), as in google-genai 3.4.0.

https://docs.cloud.google.com/vertex-ai/generative-ai/docs/model-reference/veo-video-generation
"""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from models.failure import Failure
from providers import answers
from providers.base import (
    NOT_FOUND,
    Accepted,
    Account,
    Ask,
    Call,
    Capabilities,
    Flow,
    Provider,
    Update,
)
from providers.vendors.google import predictions, service_account
from providers.vendors.google import shared as google
from settings import SettingsError
from transport.base import Response

VERSION: Final = "v1beta1"
#: Audience of service account tokens in every region: the API's name, not its host.
AUDIENCE: Final = "https://aiplatform.googleapis.com/"
#: Multi-region locations, whose hosts have a different form (google-genai 3.4.0).
MULTI_REGIONS: Final = frozenset({"us", "eu"})

#: Limits in seconds and bytes, our choice: a finished operation contains up to four videos in
#: base64, and the vendor documents no limit.
POLL_TIMEOUT: Final = 180.0
POLL_BYTES: Final = 512 * 2**20

SAMPLES: Final = predictions.Samples(
    title="Veo", path=(), videos="videos", video=(), data="bytesBase64Encoded"
)

_KEY_FILE: Final = "GOOGLE_APPLICATION_CREDENTIALS"
_PLACE: Final = ("GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION")
_NAME: Final = re.compile(
    r"projects/[^/]+/locations/[^/]+/publishers/google/models/[^/]+/operations/[^/]+"
)


class Veo(Provider):
    """Text and image to video; the final poll contains the videos, so no bucket is needed."""

    name: ClassVar[str] = "veo"
    credentials: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("GOOGLE_ACCESS_TOKEN", *_PLACE),
        (_KEY_FILE, *_PLACE),
    )
    base_variable: ClassVar[str] = "GOOGLE_VERTEX_BASE_URL"
    default_base: ClassVar[str] = "https://aiplatform.googleapis.com"
    capabilities: ClassVar[Capabilities] = Capabilities(
        max_count=4,
        inline_pictures=True,
        poll_floor=10.0,
        sources={
            "cancel": "not in google-genai 3.4.0 or the API's reference",
            "inline_pictures": "the API's reference: bytesBase64Encoded, or gcsUri in a bucket",
            "look_up": "no listing of operations, no external id in google-genai 3.4.0",
            "max_count": "the API's reference: sampleCount is 1 to 4",
            "poll_floor": "the vendor's samples wait 10 s; a video takes at least 11 s",
            "refusals": "google.rpc: 429 RESOURCE_EXHAUSTED; 5xx do not prove refusal",
            "result_lives": "without storageUri the bytes are in the operation; lifetime unknown",
        },
    )

    def account(self, variables: Mapping[str, str], *, base_url: str | None) -> Account:
        """The project's account: the key file's contents instead of its path, the region's host."""
        credentials = dict(variables)
        if _KEY_FILE in variables:
            credentials[_KEY_FILE] = service_account.read_key(
                variables[_KEY_FILE], variable=_KEY_FILE
            )
        return Account(
            name=self.name,
            provider=self.name,
            base_url=base_url or _host(variables["GOOGLE_CLOUD_LOCATION"]),
            credentials=credentials,
        )

    def authorize(self, account: Account, *, now: float) -> Mapping[str, str]:
        """The configured access token, or one signed by the service account."""
        keys = account.credentials
        bearer = keys.get("GOOGLE_ACCESS_TOKEN") or service_account.token(
            keys[_KEY_FILE], audience=AUDIENCE, now=now
        )
        return {"authorization": f"Bearer {bearer}"}

    def root(self, account: Account) -> str:
        """The project and location prefix of every path."""
        project, location = (answers.segment(account.credentials[name]) for name in _PLACE)
        return f"/{VERSION}/projects/{project}/locations/{location}"

    def submit(self, ask: Ask) -> Flow[Accepted]:
        """POST …:predictLongRunning; without a storageUri the result contains the bytes."""
        response = yield Call(
            method="POST",
            path=f"{_model(ask.upstream)}:predictLongRunning",
            json=predictions.body(
                ask, seed=ask.scene.seed, generateAudio=ask.scene.audio, fps=ask.fps
            ),
            paid=True,
            timeout=google.SUBMIT_TIMEOUT,
        )
        return Accepted(operation_id=predictions.name_in(response.json(), _NAME))

    def poll(self, operation_ids: Sequence[str]) -> Flow[Mapping[str, Update]]:
        """POST …:fetchPredictOperation; 404 is omitted."""
        updates = {}
        for operation_id in operation_ids:
            model = operation_id.rpartition("/operations/")[0].rpartition("/models/")[2]
            response = yield Call(
                method="POST",
                path=f"{_model(model)}:fetchPredictOperation",
                json={"operationName": operation_id},
                accept=frozenset({NOT_FOUND}),
                timeout=POLL_TIMEOUT,
                max_bytes=POLL_BYTES,
            )
            if response.status != NOT_FOUND:
                updates[operation_id] = predictions.update_of(response.json(), SAMPLES)
        return updates

    def explain(self, response: Response) -> Failure:
        """`{"error": {"code", "message", "status", "details"}}`."""
        return google.explain(response, title="Vertex AI")


def _model(name: str) -> str:
    return f"/publishers/google/models/{answers.segment(name)}"


def _host(location: str) -> str:
    """The host of a location, as in google-genai 3.4.0."""
    if not re.fullmatch(r"[a-z0-9-]{1,63}", location):
        msg = f"GOOGLE_CLOUD_LOCATION: must be a location such as us-central1 (it is {location!r})"
        raise SettingsError(msg)
    if location == "global":
        return Veo.default_base
    if location in MULTI_REGIONS:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"
