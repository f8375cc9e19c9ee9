"""Completes /openapi.json: bodies, headers, errors and security, which the routes handle."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from api.native.schemas import ErrorAnswer
from models.batch import BatchOptions
from models.request import VideoRequest

_FAILURES: Final[Mapping[int, str]] = {
    400: "`invalid_request`: the message names the field, its value and what is allowed",
    401: "`authentication_error`: no API key, or an invalid one; an expired one has the code "
    "`key_expired`; or it needs an admin key",
    402: "`insufficient_balance`: the balance or a budget has too little left; nothing was sent",
    404: "`not_found`: it does not exist, or is another tenant's",
    409: "`conflict`: not allowed in the current state",
    413: "`payload_too_large`: more than 25 MB, of a batch more than 200 MB, of a route that takes "
    "no pictures more than 256 kB",
    416: "`range_not_satisfiable`: the range begins past the last byte",
    422: "`idempotency_mismatch`: the Idempotency-Key was used with another body",
    429: "`rate_limited`: a limit of the key or tenant is reached (see X-RateLimit-…), or "
    "invalid keys or too many requests came from the address; see Retry-After",
    503: "`model_unavailable`: its provider has no credentials, or with the code `model_retired` "
    "makes it no longer; or `service_unavailable`: see "
    "Retry-After",
}
#: Those of our own that dialects have too.
_OWN_FAILURES: Final = {422: "The Idempotency-Key was used with another body"}
#: Errors that any route may return.
_UNAUTHORIZED, _UNAVAILABLE = 401, 503
_TOO_MANY = 429
_ALWAYS = (_UNAUTHORIZED, _TOO_MANY, _UNAVAILABLE)

_EXAMPLE_ERROR = {
    "error": {
        "type": "invalid_request",
        "code": "invalid_request",
        "message": "duration_seconds exceeds maximum of 10 for runway-gen3 model",
        "param": "duration_seconds",
        "request_id": "req_01kagw2r5v9m3c8n1x4z7b6t0q",
    }
}


def failures(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """A route's error responses, for its `responses`."""
    return {
        status: {
            "model": ErrorAnswer,
            "description": _FAILURES[status],
            **(
                {"content": {"application/json": {"example": _EXAMPLE_ERROR}}}
                if status == 400  # noqa: PLR2004 - the status of the example
                else {}
            ),
        }
        for status in sorted({*statuses, *_ALWAYS})
    }


def responses(
    status: int, model: type[BaseModel], description: str, *others: int
) -> dict[int | str, dict[str, Any]]:
    """A route's response and its possible errors."""
    return {status: {"model": model, "description": description}, **failures(*others)}


def dialect_responses(
    error: type[BaseModel], shapes: Mapping[int, Any], *others: int, unavailable: int = _UNAVAILABLE
) -> dict[int | str, dict[str, Any]]:
    """A dialect's responses by status, and its possible errors in its own shape.

    `unavailable` is the dialect's status for what is 503 natively.
    """
    answers: dict[int | str, dict[str, Any]] = {
        status: {"model": shape, "description": HTTPStatus(status).phrase}
        for status, shape in shapes.items()
    }
    errors = {
        status: {
            "model": error,
            "description": _OWN_FAILURES.get(status, HTTPStatus(status).phrase),
        }
        for status in sorted({*others, _UNAUTHORIZED, _TOO_MANY, unavailable})
    }
    return answers | errors


#: What a parameter is unless its schema is given: never empty.
_TEXT: Final = {"minLength": 1, "maxLength": 255}


def parameter(
    name: str, description: str, schema: Mapping[str, Any] | None = None, *, place: str = "query"
) -> dict[str, Any]:
    """Documentation of one optional parameter that the route parses itself."""
    return {
        "name": name,
        "in": place,
        "required": False,
        "description": description,
        "schema": {"type": "string", **(schema or _TEXT)},
    }


PAGE_PARAMETERS: Final = (
    parameter("after", "`next` from the previous page"),
    parameter(
        "limit",
        "Entries a page",
        {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
    ),
)


def body_of(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """Documentation of a JSON body that the route parses itself."""
    described = {"application/json": {"schema": schema_of(model)}}
    return {"requestBody": {"required": required, "content": described}}


def schema_of(model: type[BaseModel]) -> Any:
    """The model's schema, without references."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    return _inlined(schema, definitions)


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """The schema with each reference to a definition replaced by it."""
    match schema:
        case {"$ref": str(name), **rest}:
            found: dict[str, Any] = _inlined(definitions[name.rpartition("/")[2]], definitions)
            return {**found, **rest}
        case dict():
            return {name: _inlined(value, definitions) for name, value in schema.items()}
        case list():
            return [_inlined(value, definitions) for value in schema]
        case _:
            return schema


_LENGTH = {"minLength": 1, "maxLength": 255}

ACCEPTED: Final = (
    "Durable: the job will reach a final state. Where limits apply, X-RateLimit-Limit, -Remaining "
    "and -Reset (seconds since 1970) tell the one of which least is left"
)

#: Of every route that submits.
KEY_HEADER: Final = parameter(
    "Idempotency-Key",
    "Unique per tenant: a request repeated with the same key is accepted once, and another body "
    "with it is refused (422); 1 to 255 printable characters",
    _LENGTH,
    place="header",
)

#: The headers of a retry, which has no body.
RETRY: Final[dict[str, Any]] = {
    "parameters": [
        KEY_HEADER,
        parameter(
            "X-App-ID",
            "The app the request is for; lists can filter by it",
            _LENGTH,
            place="header",
        ),
    ],
}

#: The submission's body and headers, which its handler parses.
SUBMIT: Final[dict[str, Any]] = {
    "parameters": [
        *RETRY["parameters"],
        parameter(
            "Longtake-Repeats",
            "`once`: without an Idempotency-Key, an identical request within ten minutes counts as "
            "a repeat if it says so (X-Stainless-Retry-Count), or if the first answer was lost",
            {"enum": ["once", "allow"], "default": "allow"},
            place="header",
        ),
    ],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/VideoRequest"},
                "examples": {
                    "least": {"summary": "A prompt", "value": {"prompt": "a fox in fresh snow"}},
                    "more": {
                        "summary": "With a webhook",
                        "value": {
                            "prompt": "a lighthouse at dusk, waves below, slow aerial shot",
                            "model": "runway-gen3",
                            "duration_seconds": 5,
                            "aspect_ratio": "16:9",
                            "resolution": "720p",
                            "metadata": {"order": 1042},
                            "webhook_url": "https://example.com/hooks/video",
                            "webhook_secret": "whsec_bG9uZ3Rha2UtZXhhbXBsZS1zZWNyZXQ=",
                        },
                    },
                },
            }
        },
    },
}

#: A batch's body and headers.
BATCH: Final[dict[str, Any]] = {
    "parameters": RETRY["parameters"],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["requests"],
                    "properties": {
                        "options": {"$ref": "#/components/schemas/BatchOptions"},
                        "requests": {"type": "array", "items": {"type": "object"}},
                    },
                },
                "example": {
                    "options": {"defaults": {"model": "runway-gen3"}, "name": "foxes"},
                    "requests": [{"custom_id": "fox-1", "prompt": "a fox in fresh snow"}],
                },
            },
            "application/jsonl": {"schema": {"type": "string"}},
        },
    },
}

_BYTES = {"video/mp4": {"schema": {"type": "string", "format": "binary"}}}

#: Responses that contain a video.
VIDEO: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The whole video", "content": _BYTES},
    206: {"description": "The requested range", "content": _BYTES},
    304: {"description": "If-None-Match names this video"},
}

_PICTURE_BYTES = {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}

#: Responses that contain a picture.
PICTURE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The picture", "content": _PICTURE_BYTES},
    304: {"description": "If-None-Match names this picture"},
}

#: Responses that contain a video, or a picture if a parameter asks for one.
VIDEO_OR_PICTURE: Final = VIDEO | {
    200: {"description": "The whole video, or a picture", "content": _BYTES | _PICTURE_BYTES}
}

#: One message of a stream.
_MESSAGE: Final = {
    "type": "object",
    "properties": {
        "event": {"type": "string"},
        "data": {"type": "string", "description": "JSON"},
        "id": {"type": "string", "description": "For the header Last-Event-ID"},
    },
}

#: Responses of a stream of server-sent events.
EVENTS: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Messages as they come, and a comment after 15 s of silence",
        "content": {"text/event-stream": {"schema": _MESSAGE}},
    },
    204: {"description": "Last-Event-ID is the last event: there is nothing to wait for"},
}

_LINK = {
    "type": "apiKey",
    "in": "query",
    "name": "signature",
    "description": "A `video_url` contains `expires` and `signature` and needs no key.",
}
_BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "lt_…",
    "description": "An API key from `longtake keys create --tenant NAME`. With `--admin` it "
    "reads all tenants: single things by their ids, lists by the parameter `tenant`.",
}
_OPEN = frozenset({"/healthz", "/readyz"})


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, corrected where our routes bypass the framework."""
    schema = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    request = VideoRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas |= request.pop("$defs", {}) | {"VideoRequest": request}
    schemas["BatchOptions"] = BatchOptions.model_json_schema()
    components["securitySchemes"] = {"key": _BEARER, "link": _LINK}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            _correct(path, method, operation)
    return schema


def _correct(path: str, method: str, operation: dict[str, Any]) -> None:
    wrong = operation["responses"].get("422", {})
    if "HTTPValidationError" in str(wrong):
        del operation["responses"]["422"]
    given = operation.get("parameters", [])
    if method == "post" and "422" in operation["responses"] and KEY_HEADER not in given:
        operation["parameters"] = [*given, KEY_HEADER]  # dialects take it, too
    if path in _OPEN:
        return
    operation["security"] = [{"key": []}]
    if "/content" in path:
        operation["security"].append({"link": []})
