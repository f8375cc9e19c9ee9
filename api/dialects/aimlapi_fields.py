"""Reads a request in AI/ML API's form: checked against its model's schema, in native fields."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from api.dialects.aimlapi_models import Schema
from api.dialects.fields import Fields
from models.failure import RequestRefused
from models.links import HTTP_URL, MAX_LINK, http_url
from models.records import Json
from models.request import MAX_COUNT

URL: Final = "url"
BASE64: Final = "b64_json"
#: The vendor's names for a field, of all its generations; the first is the one that errors name.
FIRST_FRAME: Final = ("image_url", "first_frame_image")
LAST_FRAME: Final = ("last_image_url", "tail_image_url")
REFERENCES: Final = ("image_urls", "reference_image_urls")
#: Native fields by the name that the vendor has for them.
OWN_NAMES: Final[Mapping[str, str]] = {
    "duration_seconds": "duration",
    "image": "image_url",
    "last_image": "last_image_url",
    "reference_images": "image_urls",
    "audio": "generate_audio",
    "count": "n",
}
#: Documented fields that no model of ours takes, told as dropped if they ask for anything.
_DROPPED: Final = (
    *("loop", "hdr", "exr_export", "multi_prompt", "elements", "camera_control"),
    *("advanced_camera_control", "static_mask", "dynamic_masks", "video_urls", "audio_urls"),
)
_PICTURE: Final = "must be an http(s) URL or a base64 data:image/… URI"
_SHOWN: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A request, read: the native request's fields and what only this API has."""

    fields: Json
    #: The name that was asked for of a model that a successor makes.
    replaced_model: str | None = None
    dropped: tuple[str, ...] = ()

    def told(self, adapted: str | None) -> str | None:
        """What the header says of the changes, `adapted` being those of the native fields."""
        model = self.replaced_model
        successor = [f"model={self.fields['model']} (asked {model})"] if model else []
        changes = [*successor, *([adapted] if adapted else []), *self.dropped]
        return ", ".join(changes) or None


def wanted(
    fields: Fields, models: Mapping[str, Schema], *, default_model: str | None = None
) -> Wanted:
    """The request for one of `models`; raises RequestRefused for what its schema does not allow.

    Without a `default_model`, `model` is required.
    """
    name = fields.text("model") or default_model
    if name is None:
        raise RequestRefused("model is required", param="model")
    if name not in models:
        _refuse_choice("model", models, name)
    schema = models[name]
    asked = {
        "model": schema.model,
        "prompt": _prompt(fields, schema),
        "duration_seconds": _seconds(fields, schema),
        "aspect_ratio": _ratio(fields, schema),
        "resolution": _resolution(fields, schema),
        **_pictures(fields),
        "negative_prompt": fields.text("negative_prompt"),
        "cfg_scale": _scale(fields, schema),
        "seed": _seed(fields, schema),
        "watermark": fields.flag("watermark"),
        "audio": fields.flag("generate_audio"),
        "person_generation": fields.text("person_generation"),
        "count": fields.whole("n", least=1, most=MAX_COUNT),
        "metadata": _kept(fields),
    }
    return Wanted(
        fields={name: value for name, value in asked.items() if value is not None},
        replaced_model=name if schema.is_successor else None,
        dropped=tuple(name for name in _DROPPED if fields.values.get(name)),
    )


def wants_base64(metadata: object) -> bool:
    """Whether a job of such metadata was asked to show its videos in base64."""
    return isinstance(metadata, dict) and metadata.get("response_format") == BASE64


def _kept(fields: Fields) -> Json | None:
    """What an answer to a later poll depends on."""
    form = _choice(fields, "response_format", (URL, BASE64))
    return {"response_format": BASE64} if form == BASE64 else None


def _prompt(fields: Fields, schema: Schema) -> str:
    prompt = fields.required_text("prompt")
    limit = schema.prompt_limit
    if limit is not None and (length := limit.length(prompt)) > limit.most:
        unit = "UTF-16 code units" if limit.unit == "utf16" else "characters"
        msg = f"prompt must have at most {limit.most} {unit} (it has {length})"
        raise RequestRefused(msg, param="prompt")
    return prompt


def _seconds(fields: Fields, schema: Schema) -> int:
    """The duration, which schemas of 2025 write as a string."""
    given = fields.values.get("duration")
    if isinstance(given, str) and len(given) <= 2 and given.isascii() and given.isdigit():  # noqa: PLR2004 - two digits
        seconds: float | None = int(given)
    else:
        seconds = fields.number("duration")
    if seconds is None:
        return schema.seconds[0]
    if seconds not in schema.seconds:
        _refuse_choice("duration", sorted(set(schema.seconds)), given)
    return int(seconds)


def _ratio(fields: Fields, schema: Schema) -> str | None:
    """`ratio` of the older generations, else `aspect_ratio`; "adaptive" is the picture's own."""
    for name in ("ratio", "aspect_ratio"):
        if schema.ratios and (ratio := _choice(fields, name, schema.ratios)) is not None:
            return None if ratio == "adaptive" else ratio
    return None


def _resolution(fields: Fields, schema: Schema) -> str | None:
    """In either case: documents write 720p and 720P."""
    if not schema.resolutions:
        return schema.makes
    asked = fields.text("resolution")
    if asked is None:
        return schema.resolutions[0]
    if asked.lower() not in schema.resolutions:
        _refuse_choice("resolution", schema.resolutions, asked)
    return asked.lower()


def _pictures(fields: Fields) -> Json:
    frames = fields.inner("keyframes")
    references = [url for name in REFERENCES for url in _links(fields, name)]
    return {
        "image": _picture(fields, FIRST_FRAME) or _key_frame(frames, "frame0"),
        "last_image": _picture(fields, LAST_FRAME) or _key_frame(frames, "frame1"),
        "reference_images": references or None,
    }


def _picture(fields: Fields, names: Collection[str]) -> str | None:
    """The picture under the first of the names that is set."""
    for name in names:
        if value := fields.text(name):
            if not _is_picture(value):
                fields.refuse(name, _PICTURE)
            return value
    return None


def _key_frame(frames: Fields | None, name: str) -> str | None:
    """Luma's form: `{"frame0": {"type": "image", "url": …}}`."""
    frame = frames.inner(name) if frames else None
    return _picture(frame, ("url",)) if frame else None


def _links(fields: Fields, name: str) -> list[str]:
    given = fields.values.get(name)
    if given is None:
        return []
    if not isinstance(given, list) or not all(_is_picture(each) for each in given):
        fields.refuse(name, f"must be a list, each element of which {_PICTURE}")
    return given


def _is_picture(value: object) -> bool:
    if not isinstance(value, str):
        return False
    if value.startswith("data:image/"):
        return ";base64," in value[:_SHOWN]
    if len(value) > MAX_LINK:
        return True  # it is refused for its length
    try:
        http_url(value)
    except ValueError as error:
        return str(error) != HTTP_URL  # it is refused for what is wrong with it
    return True


def _scale(fields: Fields, schema: Schema) -> float | None:
    scale = fields.number("cfg_scale")
    most = schema.largest_scale
    if scale is not None and most is not None and not 0 <= scale <= most:
        fields.refuse("cfg_scale", f"must be a number from 0 to {most:g}")
    return scale


def _seed(fields: Fields, schema: Schema) -> int | None:
    """Any whole number, where the document has no range."""
    most = schema.largest_seed
    if most is not None:
        return fields.whole("seed", least=0, most=most)
    seed = fields.number("seed")
    if seed is not None and seed != int(seed):
        fields.refuse("seed", "must be a whole number")
    return None if seed is None else int(seed)


def _choice(fields: Fields, name: str, allowed: Collection[str]) -> str | None:
    value = fields.text(name)
    if value is not None and value not in allowed:
        _refuse_choice(name, allowed, value)
    return value


def _refuse_choice(name: str, allowed: Collection[Any], given: object) -> NoReturn:
    """The document's sentence for a value that is none of the allowed."""
    expected = " | ".join(map(_quoted, allowed))
    received = _quoted(given)
    shown = received if len(received) <= _SHOWN else f"{received[: _SHOWN - 1]}…"
    msg = f"{name}: Invalid enum value. Expected {expected}, received {shown}"
    raise RequestRefused(msg, param=name)


def _quoted(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)
