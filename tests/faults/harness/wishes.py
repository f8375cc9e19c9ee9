"""What the random run asks for: jobs over all providers; some are to fail, to wait or to stop."""

import random
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from providers.registry import PROVIDERS
from tests.faults.harness.client import Json
from tests.faults.harness.lanes import asked_of
from tests.faults.harness.receiver import Receiver, secret_of

#: What the simulator is told, and how often in a thousand.
_SCRIPTS = {"[sim:fail]": 20, "[sim:moderate]": 20, "[sim:expired]": 30, "[sim:slow]": 30}
_SCRIPTS |= {"[sim:unknown-status]": 20, "[sim:never]": 10}
#: Seconds that a job has whose operation never ends, and one whose answer may never come.
_SHORT_DEADLINE, _PATIENCE = 20, 120
_STOPS_NOTHING_THAT_RUNS = {"minimax_v2"}
#: Which jobs' videos are sent at a trickle, and by whom, where any are.
DRIPS = {5: "runway", 10: "luma_agents", 15: "replicate", 20: "perf", 25: "lunos"}
#: One job of so many is of a favoured provider.
_FAVOUR = 4
#: The app with a budget, which is soon used up, and its budget in US dollars.
METERED, BUDGET = "metered", 20
_SHARE_METERED, _SHARE_GATED = 0.1, 0.2
#: The gate whose jobs begin with the next of its models each.
TURNS = "turns"
_SUBJECTS = ("A lighthouse in a storm", "A fox on a frozen lake", "Rain on a tin roof at night")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One job as it is asked for."""

    #: Unique: the Idempotency-Key, the receiver's name, and part of the prompt.
    name: str
    provider: str
    body: Json
    #: The app whose budget it counts against; None: no budget does.
    app: str | None
    #: Cancelled after so many further jobs were submitted; None: it is not.
    cancelled_after: int | None


def fresh_name() -> str:
    """A name that no other job has, in the form by which the judge finds it on the bill."""
    return f"take-{secrets.token_hex(6)}-00000"


def plain(name: str, provider: str, receiver: Receiver, *, script: str = "") -> Json:
    """A request of its own name, with a webhook."""
    return {
        "prompt": f"{script} A fox crosses a frozen lake, {name}".strip(),
        **asked_of(provider),
        "webhook_url": receiver.url(name),
        "webhook_secret": secret_of(name),
    }


def gates(providers: Sequence[str]) -> list[Json]:
    """A gate for each provider, which moves on to the following one, and one that takes turns."""
    models = [asked_of(provider)["model"] for provider in providers]
    following = zip(providers, models, [*models[1:], models[0]], strict=True)
    each: list[Json] = [
        {"name": provider, "strategy": "fallback", "model": model, "fallback_models": [other]}
        for provider, model, other in following
    ]
    in_turn = {"name": TURNS, "strategy": "round-robin", "model": models[0]}
    return [*each, in_turn | {"fallback_models": models[1:4]}]


def wishes(
    jobs: int,
    *,
    seed: int,
    providers: Sequence[str],
    receivers: Sequence[Receiver],
    favoured: Sequence[str] = (),
    drips: bool = False,
) -> Iterator[Wish]:
    """The same for the same seed, save for the receivers' ports.

    A quarter of all is of the `favoured` providers; `drips` has a handful of videos sent slowly.
    """
    dice = random.Random(f"wishes {seed}")
    for number in range(jobs):
        provider = providers[number % len(providers)]
        if favoured and number % _FAVOUR == 0:
            provider = favoured[number // _FAVOUR % len(favoured)]
        name = f"take-{seed:x}-{number:05d}"
        script = _script(dice, provider)
        if drips and number in DRIPS:
            provider, script = DRIPS[number], "[sim:drip]"
        body: Json = {
            "prompt": f"{script} {dice.choice(_SUBJECTS)}, {name}".strip(),
            **asked_of(provider),
            "count": 2 if dice.random() < 0.04 else 1,
            "priority": dice.choice(("low", "normal", "high")),
            "unknown_policy": "at_least_once" if dice.random() < 0.1 else "at_most_once",
        }
        if script == "[sim:never]":
            body["deadline_seconds"] = _SHORT_DEADLINE
        elif PROVIDERS[provider].capabilities.synchronous:
            # A POST whose worker died is given as long as its answer may take: ten minutes.
            body["deadline_seconds"] = _PATIENCE
        if dice.random() < 0.95:
            body["webhook_url"] = dice.choice(receivers).url(name)
            body["webhook_secret"] = secret_of(name)
        if not script and dice.random() < _SHARE_GATED:
            # Any provider of the gate may be a synchronous one.
            body["gate"] = dice.choice((provider, TURNS))
            body["deadline_seconds"] = _PATIENCE
            del body["model"]
        app = METERED if dice.random() < _SHARE_METERED else None
        cancelled_after = dice.randrange(10) if dice.random() < 0.05 else None
        if script == "[sim:drip]":
            cancelled_after = None
        yield Wish(
            name=name, provider=provider, body=body, app=app, cancelled_after=cancelled_after
        )


def _script(dice: random.Random, provider: str) -> str:
    """Mostly none, and none that the provider has no way out of."""
    roll = dice.randrange(1000)
    for script, share in _SCRIPTS.items():
        if roll < share:
            return script if _can_end(script, provider) else ""
        roll -= share
    return ""


def _can_end(script: str, provider: str) -> bool:
    capabilities = PROVIDERS[provider].capabilities
    match script:
        case "[sim:never]":
            return capabilities.cancel and provider not in _STOPS_NOTHING_THAT_RUNS
        case "[sim:expired]":
            return not capabilities.synchronous  # it gives its link once
        case _:
            return True
