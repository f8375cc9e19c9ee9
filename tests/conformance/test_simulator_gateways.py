"""Gateways without a client for videos: their printed programs finish jobs here, as we do."""

import asyncio
import subprocess
import time
from collections.abc import Mapping

import pytest
import requests

from models.failure import Fault
from providers.base import Accepted, Phase, Update
from providers.exchange import converse
from providers.registry import PROVIDERS, accounts
from settings import load
from simulator.upstreams.gateways.layer import GATE_OF_BYTES
from tests.conformance.driving import node
from tests.conformance.judging import IMAGE, ask
from tests.conformance.replaying import printed
from tests.conformance.watching import Simulator, watched
from transport.base import Unanswered
from transport.exact import ExactClient

PERF = "https://api.withperf.pro"
NAP = time.sleep


def test_perfs_printed_python_program_makes_a_video(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given the document's program with the host replaced and its wait cut short
    program = printed("perf_generate.py.txt", host=PERF, instead=f"{simulator.url}/perf")
    monkeypatch.setattr(time, "sleep", lambda _: NAP(0.02))
    # A proxy in the environment must not be asked for a page of this machine
    monkeypatch.setattr(requests.utils, "should_bypass_proxies", lambda *_, **__: True)
    # When it runs
    exec(compile(program, "perf_generate.py", "exec"), {"__name__": "printed"})  # noqa: S102 - the vendor's own program is the judge
    # Then it ends, with a video
    *statuses, ready = capsys.readouterr().out.splitlines()
    assert statuses[-1] == "Status: complete"
    assert watched(ready.removeprefix("Video ready: ")) == (1920, 1080, 8.0, 24)
    assert simulator.bill()[0]["body"] == {
        "prompt": "A cat playing piano in a jazz club, cinematic lighting",
        "model": "runway-gen3",
        "duration_seconds": 8,
    }


def test_perfs_printed_javascript_program_makes_a_video(simulator: Simulator) -> None:
    program = printed("perf_generate.js.txt", host=PERF, instead=f"{simulator.url}/perf")
    # The program's own waits only: fetch has timers as well
    hurry = "const setTimeout = (then) => globalThis.setTimeout(then, 20);\n"
    ended = subprocess.run(
        [str(node()), "--input-type=module", "--eval", hurry + program],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    *_, ready = ended.stdout.splitlines()
    assert watched(ready.removeprefix("Video ready: ")) == (1920, 1080, 8.0, 24)


def made_by_layer(
    env: Mapping[str, str], *, paid_timeout: float | None = None, **changes: object
) -> Accepted:
    """What a submit to Layer comes to: the whole job."""
    values = {"upstream": "veo-3.1-generate-preview", "prompt": "a cat", "duration_seconds": 6}
    layer = PROVIDERS["layer"]

    async def talk() -> Accepted:
        client = ExactClient()
        try:
            return await converse(
                layer.submit(ask(**(values | changes))),
                provider=layer,
                account=accounts(load({"LONGTAKE_DATA_DIR": "/nonexistent", **env}))["layer"],
                client=client,
                now=time.time(),
                paid_timeout=paid_timeout,
            )
        finally:
            await client.close()

    return asyncio.run(talk())


def update_of(accepted: Accepted) -> Update:
    assert accepted.update is not None
    return accepted.update


def test_layer_answers_with_every_video_and_what_it_cost(simulator: Simulator) -> None:
    # When three videos are asked for at once
    accepted = made_by_layer(simulator.env, count=3, image=IMAGE, fps=30)
    # Then the one answer has them all, under an id of ours, for one charge
    update = update_of(accepted)
    assert (accepted.operation_id, update.phase) == ("layer-m1", Phase.SUCCEEDED)
    assert len({video.url for video in update.videos}) == 3
    assert watched(str(update.videos[0].url)) == (1280, 720, 6.0, 30)
    assert update.cost_micros == 7_200_000
    assert len(simulator.bill()) == 1


def test_layers_bytes_come_once_and_only_here(simulator: Simulator) -> None:
    env = {**simulator.env, "LAYER_GATE_ID": GATE_OF_BYTES}
    (video,) = update_of(made_by_layer(env)).videos
    assert video.only_here
    assert video.content is not None
    assert video.content[4:8] == b"ftyp"


@pytest.mark.parametrize(
    ("script", "fault"), [("fail", Fault.UNKNOWN), ("moderate", Fault.MODERATED)]
)
def test_layers_own_word_of_a_failure_is_an_end_and_not_a_doubt(
    simulator: Simulator, script: str, fault: Fault
) -> None:
    update = update_of(made_by_layer(simulator.env, prompt=f"[sim:{script}] a cat"))
    assert update.phase is Phase.FAILED
    assert update.failure is not None
    assert update.failure.fault is fault
    assert len(simulator.bill()) == 1


@pytest.mark.parametrize("do", ["drop_after_accept", "garbage"])
def test_what_layers_answer_said_is_lost_with_it(simulator: Simulator, do: str) -> None:
    simulator.faults([{"provider": "layer", "on": "submit", "do": do}])
    with pytest.raises(Unanswered):
        made_by_layer(simulator.env)
    assert len(simulator.bill()) == 1


def test_a_silent_layer_is_given_up_when_its_time_is_over(simulator: Simulator) -> None:
    with pytest.raises(Unanswered):
        made_by_layer(simulator.env, prompt="[sim:never] a cat", paid_timeout=0.3)
    assert len(simulator.bill()) == 1
