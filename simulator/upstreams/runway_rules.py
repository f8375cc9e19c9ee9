"""Validates Runway submissions; derives their clip and price."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from simulator.checks import is_seed, is_whole
from simulator.upstreams.runway_models import (
    CREDITS_PER_SECOND,
    MINIMUM_CREDITS,
    SILENT_CREDITS,
    UNKNOWN_CREDITS,
    Rule,
)
from simulator.video import Clip

Body = Mapping[str, object]
Issue = dict[str, object]

#: Maximum prompt length, in UTF-16 code units.
LONGEST_PROMPT: Final = 1000
#: Maximum size of a data URI, in bytes.
LARGEST_DATA_URI: Final = 5 * 1024 * 1024

_MEMBER_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "audio": (bool,),
    "draft": (bool,),
    "draftTaskId": (str,),
    "mode": (str,),
    "negativePrompt": (str,),
    "outputFormat": (str,),
    "promptExpansionMode": (str,),
    "proresProfile": (str,),
    "cfgScale": (int, float),
    "contentModeration": (dict,),
    "providerSettings": (dict,),
    "keyframes": (list,),
    "references": (list,),
    "referenceAudio": (list,),
    "referenceVideos": (list,),
}

_SHORT_SIDES: Final[Mapping[str, int]] = {
    "480p": 480,
    "720p": 720,
    "768p": 768,
    "1080p": 1080,
    "2k": 1440,
}


def complaints(body: Body, rules: Mapping[str, Rule]) -> Iterator[Issue]:
    """Validation errors, in the format of the vendor's `issues`."""
    model = body.get("model")
    rule = rules.get(model) if isinstance(model, str) else None
    if rule is None:
        yield _not_one_of(("model",), sorted(rules))
        return
    yield from _members(body, rule)
    yield from _prompt(body)
    yield from _seed(body)
    yield from _duration(body, rule)
    yield from _enumerated(body, rule)
    yield from _image(body, last_allowed=model != "gen4_turbo")
    yield from _uri(body.get("promptVideo"), ("promptVideo",))
    yield from _uri(body.get("videoUri"), ("videoUri",))


def clip_of(body: Body, rule: Rule) -> Clip:
    """The clip for a valid body."""
    seconds = body.get("duration")
    length = seconds if isinstance(seconds, int) else rule.default_seconds
    ratio = str(body.get("ratio", body.get("targetAspectRatio", "1280:720")))
    if ratio.startswith("auto_"):
        return Clip.shaped("16:9", short_side=_SHORT_SIDES[ratio[5:]], seconds=length)
    if re.fullmatch(r"\d{3,}:\d{3,}", ratio):
        across, down = (int(side) for side in ratio.split(":"))
        return Clip.shaped(ratio, short_side=min(across, down), seconds=length)
    shape = ratio if re.fullmatch(r"\d+:\d+", ratio) else "16:9"
    resolution = str(body.get("resolution", "720p")).lower()
    return Clip.shaped(shape, short_side=_SHORT_SIDES[resolution], seconds=length)


def credits_of(body: Body, clip: Clip) -> int:
    """The price in credits."""
    model = str(body["model"])
    short_side = min(clip.width, clip.height)
    tiers = CREDITS_PER_SECOND.get(model, UNKNOWN_CREDITS)
    rate = next(price for largest, price in tiers if short_side <= largest)
    if body.get("audio") is False:
        rate = SILENT_CREDITS.get(model, rate)
    return max(rate * clip.seconds, MINIMUM_CREDITS.get(model, 0))


def _members(body: Body, rule: Rule) -> Iterator[Issue]:
    for name in sorted(rule.required - set(body)):
        yield _issue("invalid_type", (name,), "Required")
    if unknown := sorted(set(body) - rule.fields):
        names = ", ".join(repr(name) for name in unknown)
        yield {**_issue("unrecognized_keys", (), f"Unrecognized key(s): {names}"), "keys": unknown}
    for name, types in _MEMBER_TYPES.items():
        value = body.get(name)
        if name in body and (
            not isinstance(value, types) or (isinstance(value, bool) and bool not in types)
        ):
            expected = " or ".join(kind.__name__ for kind in types)
            yield _issue("invalid_type", (name,), f"Expected {expected}")


def _prompt(body: Body) -> Iterator[Issue]:
    if "promptText" not in body:
        return
    prompt = body["promptText"]
    if not isinstance(prompt, str):
        yield _issue("invalid_type", ("promptText",), "Expected str")
    elif not prompt:
        yield _issue("too_small", ("promptText",), "Must have at least 1 character")
    elif len(prompt.encode("utf-16-le", "surrogatepass")) // 2 > LONGEST_PROMPT:
        yield _issue("too_big", ("promptText",), f"Must have at most {LONGEST_PROMPT} characters")


def _seed(body: Body) -> Iterator[Issue]:
    seed = body.get("seed", 0)
    if not is_seed(seed):
        yield _issue("too_big", ("seed",), "Expected an integer from 0 to 4294967295")


def _duration(body: Body, rule: Rule) -> Iterator[Issue]:
    if "duration" not in body or "duration" not in rule.fields:
        return
    duration = body["duration"]
    if duration == "auto" and rule.auto:
        return
    if not is_whole(duration) or duration not in rule.seconds:
        yield _not_one_of(("duration",), [*map(str, rule.seconds), *(["auto"] * rule.auto)])


def _enumerated(body: Body, rule: Rule) -> Iterator[Issue]:
    for name, allowed in (("ratio", rule.ratios), ("resolution", rule.resolutions)):
        if name in body and name in rule.fields and allowed and body[name] not in allowed:
            yield _not_one_of((name,), list(allowed))


def _image(body: Body, *, last_allowed: bool) -> Iterator[Issue]:
    image = body.get("promptImage")
    if not isinstance(image, list):
        yield from _uri(image, ("promptImage",))
        return
    positions = ("first", "last") if last_allowed else ("first",)
    for index, each in enumerate(image):
        where = ("promptImage", index)
        if not isinstance(each, dict) or "uri" not in each:
            yield _issue("invalid_type", where, "Expected an object with uri and position")
            continue
        yield from _uri(each["uri"], (*where, "uri"))
        if each.get("position") not in positions:
            yield _not_one_of((*where, "position"), positions)


def _uri(value: object, path: tuple[str | int, ...]) -> Iterator[Issue]:
    """Accepts https URLs on a domain name, small data URIs and Runway's own uploads."""
    if value is None:
        return
    if not isinstance(value, str):
        yield _issue("invalid_type", path, "Expected str")
    elif value.startswith("data:"):
        if len(value) > LARGEST_DATA_URI:
            yield _issue("too_big", path, f"A data URI has at most {LARGEST_DATA_URI} bytes")
    elif not value.startswith("runway://") and not re.match(
        r"https://(?![\d.]+(?:[:/]|$))[^/:\[]", value
    ):
        yield _issue(
            "invalid_string", path, "Expected an https URL on a domain name, or a data URI"
        )


def _not_one_of(path: tuple[str | int, ...], allowed: object) -> Issue:
    return {**_issue("invalid_enum_value", path, "Invalid value"), "options": allowed}


def _issue(code: str, path: tuple[str | int, ...], message: str) -> Issue:
    return {"code": code, "message": message, "path": list(path)}
