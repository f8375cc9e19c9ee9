"""The options of `longtake submit` that follow from the request's own fields."""

import base64
import inspect
import mimetypes
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, get_args

import typer

from cli.api import Json
from cli.errors import Refused
from models.request import VideoRequest
from models.scene import OPTIONAL, PICTURES, ReferenceType

#: The request's fields that are options, in the order of the help.
OFFERED: Final = (
    *("model", "gate", "duration_seconds", "resolution", "aspect_ratio"),
    *OPTIONAL,
    *("count", "max_cost_usd", "webhook_url", "webhook_secret"),
)
#: Spellings of options that differ from their fields' names.
SPELLINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "model": ("--model", "-m"),
    "duration_seconds": ("--duration", "-d"),
    "reference_images": ("--reference-image",),
    "max_cost_usd": ("--max-cost",),
}
#: What may come before a reference picture, with an equals sign.
TYPES: Final = get_args(ReferenceType)
#: How the value of a picture's option is written: the end of its help.
_FORMS: Final[Mapping[str, str]] = dict.fromkeys(PICTURES, ": a file or a URL.") | {
    "reference_images": f": a file or a URL, after {'=, '.join(TYPES)}= or nothing."
}
#: Variables that give an option's default.
VARIABLES: Final[Mapping[str, str]] = {"webhook_secret": "LONGTAKE_WEBHOOK_SECRET"}
#: Types of option values by JSON Schema's names.
_TYPES: Final[Mapping[str, Any]] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "array": list[str],
}


def with_parameters(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each field of OFFERED in place of its `**given`."""
    signature = inspect.signature(command)
    own = list(signature.parameters.values())
    place = next(at for at, one in enumerate(own) if one.kind is one.KEYWORD_ONLY)
    parameters = [*own[:place], *_options(), *own[place:-1]]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined] # what Typer reads
    return command


def _options() -> Iterator[inspect.Parameter]:
    fields = VideoRequest.model_json_schema()["properties"]
    for name in OFFERED:
        field = fields[name]
        help_ = field["description"] + _FORMS.get(name, ".")
        option = typer.Option(*SPELLINGS.get(name, ()), help=help_, envvar=VARIABLES.get(name))
        yield inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[_type(field) | None, option],
        )


def _type(field: Json) -> Any:
    """The type of a field's option: of the first simple alternative, for pictures text."""
    alternatives = field.get("anyOf", [field])
    simple = (_TYPES[each["type"]] for each in alternatives if each.get("type") in _TYPES)
    return next(simple, str)


def body_of(given: Mapping[str, Any]) -> Json:
    """The request's fields for the options given; the API checks their values."""
    return {name: _value(name, value) for name, value in given.items() if value not in (None, [])}


def _value(name: str, value: Any) -> Any:
    if name not in PICTURES:
        return value
    if isinstance(value, list):
        return [_reference(name, each) for each in value]
    return _picture(name, value)


def _reference(name: str, given: str) -> str | Json:
    """A picture, with the type before the equals sign if there is one."""
    kind, sign, rest = given.partition("=")
    if not sign or kind not in TYPES:
        return _picture(name, given)
    return {"image": _picture(name, rest), "type": kind}


def _picture(name: str, given: str) -> str:
    """A URL unchanged, or a file as a data URI."""
    if given.startswith(("https://", "http://", "data:")):
        return given
    try:
        content = Path(given).read_bytes()
    except OSError as error:
        option, *_ = SPELLINGS.get(name, (f"--{name.replace('_', '-')}",))
        raise Refused(f"cannot read {option} {given}: {error.strerror}") from error
    kind = mimetypes.guess_type(given)[0] or "image/png"
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
