"""The shapes of Layer's video API, as its document and its server have them."""

from typing import Any, Literal

from pydantic import BaseModel, Field


class LayerImage(BaseModel):
    url: str | None = None
    base64: str | None = Field(default=None, description="A data URI, or base64 alone")


class LayerReference(LayerImage):
    referenceType: Literal["subject", "style", "asset"] = "asset"  # noqa: N815 - theirs


class LayerData(BaseModel):
    """The video that is asked for."""

    prompt: str = Field(min_length=1, description="What the video shows")
    duration: float | str | None = Field(default=None, description="Seconds")
    size: str | None = Field(
        default=None,
        description="As in 1280x720; Layer's are 1280x720, 720x1280, 1024x1792 and 1792x1024",
    )
    fps: float | None = None
    seed: float | None = None
    negativePrompt: str | None = None  # noqa: N815
    numberOfVideos: int = Field(default=1, ge=1, le=10)  # noqa: N815
    image: LayerImage | None = Field(default=None, description="First frame")
    lastFrame: LayerImage | None = None  # noqa: N815
    referenceImages: list[LayerReference] = []  # noqa: N815
    personGeneration: str | None = None  # noqa: N815
    responseFormat: Literal["url", "b64_json"] = Field(  # noqa: N815
        default="url", description="Ours: b64_json returns the videos themselves"
    )


class LayerRequest(BaseModel):
    """The body of a call; unknown fields are ignored."""

    gateId: str = Field(description="A gate's id or name")  # noqa: N815
    model: str | None = Field(default=None, description="In place of the gate's model")
    metadata: dict[str, Any] | None = None
    data: LayerData


class LayerVideo(BaseModel):
    url: str | None = Field(default=None, description="Valid for seven days")
    base64: str | None = None
    duration: float = Field(description="Seconds")


class LayerResponse(BaseModel):
    """The finished videos."""

    id: str
    model: str
    videos: list[LayerVideo]
    cost: float = Field(description="US dollars")
    latency: int = Field(description="Milliseconds that this call took")
    latencyMs: int  # noqa: N815


class LayerError(BaseModel):
    error: str
    message: str
