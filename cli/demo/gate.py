"""The demo's gate: a job whose first model's provider refuses it, so that the next one makes it."""

import httpx

from cli.api import Api, Json
from cli.demo.shots import DURATION, RESOLUTION, Shot, read_prompts
from cli.errors import Refused

#: The gate's models and the provider that is out of credits for its job.
FIRST, NEXT, REFUSING = "gen4.5", "ray-3.2", "runway"
GATE: Json = {
    "name": "demo",
    "strategy": "fallback",
    "model": FIRST,
    "fallback_models": [NEXT],
}


def gate_shot(number: int, *, webhook: Json) -> Shot:
    """A job through the gate, with the prompt after those of the other shots."""
    prompts = read_prompts()
    if number > len(prompts):
        raise Refused(f"the demo has {len(prompts)} prompts for {number} jobs")
    prompt = prompts[number - 1]
    asked = {"duration_seconds": DURATION, "resolution": RESOLUTION}
    body = {"prompt": prompt, "gate": GATE["name"], **asked, **webhook}
    return Shot(number=number, model=FIRST, prompt=prompt, body=body, gate=GATE["name"])


def prepare(api: Api, shot: Shot, *, simulator_url: str) -> None:
    """Create the gate, and have the simulated provider refuse its job with 402."""
    api.create_gate(GATE)
    refusal = {"provider": REFUSING, "on": "submit", "do": "status", "status": 402}
    faults = [refusal | {"match_prompt": shot.prompt, "times": 1}]
    with httpx.Client(base_url=simulator_url, trust_env=False, timeout=10) as client:
        client.post("/_sim/faults", json=faults).raise_for_status()


def hops_of(job: Json) -> list[tuple[str, str]]:
    """The models that the job moved between."""
    return [(hop["from_model"], hop["to_model"]) for hop in job.get("hops", ())]
