"""Runs in a client's own environment: makes the calls told on stdin, and tells what became of each.

JUDGE_BASE_URL and JUDGE_API_KEY say where, and as whom.
"""

import json
import os
import sys
from base64 import b64encode
from importlib import import_module
from operator import attrgetter
from typing import Any


def built(told: dict[str, Any]) -> object:
    """An object of JSON, or one of the client's own where it names a `class`."""
    if "class" not in told:
        return told
    module, _, kind = told.pop("class").rpartition(".")
    return getattr(import_module(module), kind)(**told)


def plain(value: Any) -> object:
    """Bytes as base64; what else is no JSON is a model that knows how to become it."""
    return b64encode(value).decode() if isinstance(value, bytes) else value.model_dump(mode="json")


def called(client: object, call: dict[str, Any]) -> dict[str, object]:
    try:
        value = attrgetter(call["method"])(client)(**call["arguments"])
    except Exception as error:  # noqa: BLE001 - whatever the client raises is told
        response = getattr(error, "response", None)
        return {
            "raised": [kind.__name__ for kind in type(error).__mro__],
            "status": getattr(response, "status_code", None),
            "message": str(error),
        }
    return {"value": value}


def main() -> None:
    told = json.load(sys.stdin.buffer, object_hook=built)
    settings = told["settings"]
    outer = settings.setdefault(told["within"], {}) if told["within"] else settings
    outer["base_url"] = os.environ["JUDGE_BASE_URL"]
    client = getattr(import_module(told["module"]), told["kind"])(
        api_key=os.environ["JUDGE_API_KEY"], **settings
    )
    outcomes = [called(client, call) for call in told["calls"]]
    json.dump(outcomes, sys.stdout, default=plain)


main()
