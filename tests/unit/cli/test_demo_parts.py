"""What the demo asks for, and that its verdict notices every way in which it can go wrong."""

import base64
import dataclasses
import io
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import av
import pytest

from api.native.models import model_view
from catalog.models import Catalog
from catalog.resolve import resolve
from cli.demo.command import Place, _own_environment
from cli.demo.films import Film
from cli.demo.gate import FIRST, NEXT, gate_shot
from cli.demo.looks import End, Looks, looks
from cli.demo.receiver import Receipt, receiving
from cli.demo.shots import PROMPTS, Shot, picture, plan, read_prompts
from cli.demo.systems import PROGRAMS, Program, Run
from cli.demo.verdict import Outcome, claims
from models.budgets import Balance
from models.request import VideoRequest
from models.rows.money import Account as LedgerAccount
from models.rows.money import EntryRow
from providers.base import Account
from providers.registry import PROVIDERS, is_vendor_variable
from settings import Settings
from webhooks.signing import headers

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZg=="
WEBHOOK = {"webhook_url": "http://127.0.0.1:1/", "webhook_secret": SECRET}
#: Accounts at every provider, so that every model is available.
ACCOUNTS = {
    name: Account(name=name, provider=name, base_url="https://vendor.example", credentials={})
    for name in PROVIDERS
}
CATALOG = Catalog.load(Settings())


def shots(wanted: int = 24) -> list[Shot]:
    models = [model_view(model, CATALOG, ACCOUNTS) for model in CATALOG.models()]
    return plan(models, wanted=wanted, webhook=WEBHOOK)


def test_every_model_gets_a_shot_that_it_accepts() -> None:
    asked = shots()

    assert {shot.model for shot in asked} == {model.name for model in CATALOG.models()}
    for shot in asked:
        made = resolve(VideoRequest.from_json(shot.body), CATALOG, ACCOUNTS)
        shortest = min(next(iter(CATALOG.find(shot.model).routes.values())).durations)
        assert made.duration_seconds <= max(5, shortest)


def test_few_prompts_still_reach_every_model() -> None:
    assert {shot.model for shot in shots(1)} == {model.name for model in CATALOG.models()}


def test_prompts_can_be_told_apart_on_a_bill_and_name_their_source() -> None:
    prompts = read_prompts()

    assert len(prompts) >= 24
    assert not [one for one in prompts for other in prompts if one != other and one in other]
    assert len(set(prompts)) == len(prompts)
    note = PROMPTS.with_name("PROMPTS.md").read_text()
    assert "VBench" in note
    assert "Apache License 2.0" in note


def test_files_are_named_for_what_they_show() -> None:
    shot = Shot(number=3, model="veo", prompt="A fox, at 5 o'clock / noon, runs on", body={})

    assert shot.file == "03-veo-a-fox-at-5-o-clock.mp4"


def test_the_still_is_a_picture() -> None:
    head, _, content = picture(64, 48).partition(",")

    assert head == "data:image/png;base64"
    with av.open(io.BytesIO(base64.b64decode(content)), mode="r") as image:
        frame = next(image.decode(video=0))
        assert (frame.width, frame.height) == (64, 48)


# --- the verdict


def job(shot: Shot, **more: Any) -> dict[str, Any]:
    return {
        "id": f"job_{shot.number}",
        "status": "complete",
        "model": shot.model,
        "estimated_cost_usd": 0.5,
        "cost_usd": 0.5,
        "perf": {"model_used": NEXT if shot.gate else shot.model},
        "hops": [{"from_model": FIRST, "to_model": NEXT}] if shot.gate else [],
    } | more


def entry(amount: int, *, of: str = "charge job_1") -> EntryRow:
    return EntryRow(
        id=1,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        entry_set=of,
        account=LedgerAccount.SPENT,
        amount_micros=amount,
        job="job_1",
        attempt=None,
    )


def made(program: Program, *, number: int, **more: Any) -> Run:
    """A program that saved the video of its one job."""
    prompt = f"the prompt of program {number}"
    path = Path(f"{number}-{program.system}.mp4")
    told: dict[str, Any] = {
        "jobs": [job(Shot(number=number, model="m", prompt=prompt, body={}))],
        "film": Film(path=path, frames=96, seconds=4, defect=None),
    }
    client = f"{program.client} 1.0"
    return Run(program=program, prompt=prompt, path=path, client=client, **told | more)


def good() -> Outcome:
    asked = shots(2)
    asked.append(gate_shot(len(asked) + 1, webhook=WEBHOOK))
    return Outcome(
        shots=asked,
        jobs=[job(shot) for shot in asked],
        films=[Film(path=Path(s.file), frames=120, seconds=5, defect=None) for s in asked],
        runs=[
            made(PROGRAMS[0], number=101),
            made(PROGRAMS[1], number=102),
            made(PROGRAMS[-1], number=103, left_out="its client is not here", jobs=(), film=None),
        ],
        receipts=[
            Receipt(
                id=f"evt_{shot.number}",
                is_signed=True,
                type="video.completed",
                job_id=f"job_{shot.number}",
                status="complete",
            )
            for shot in asked
        ],
        bill=[
            *({"body": {"input": [{"text": f"{shot.prompt}!"}]}} for shot in asked),
            *({"body": {"prompt": f"the prompt of program {number}"}} for number in (101, 102)),
        ],
        balance=Balance(
            tenant="default",
            is_prepaid=False,
            deposited_micros=0,
            reserved_micros=0,
            spent_micros=500_000 * (len(asked) + 2),
        ),
        statement=[entry(500_000), entry(-500_000)],
        looks=None,
    )


def test_looks_are_means_over_operations_that_were_polled_to_their_ends() -> None:
    told = [
        {"provider": "runway", "operation_id": "a", "polls": 2, "ended_at": 100.0},
        {"provider": "google", "operation_id": "b", "polls": 5, "ended_at": 200.0},
        {"provider": "runway", "operation_id": "told by a callback", "polls": 0, "ended_at": 1.0},
        {"provider": "runway", "operation_id": "runs on", "polls": 9, "ended_at": None},
    ]
    known = [
        End(provider="runway", operation_id="a", at=100.5),
        End(provider="google", operation_id="models/veo/b", at=201.5),
        End(provider="google", operation_id="a", at=999.0),
        End(provider="runway", operation_id="told by a callback", at=999.0),
        End(provider="runway", operation_id="runs on", at=999.0),
    ]
    assert looks(told, known) == Looks(operations=2, polls=3.5, delay=1.0)
    assert looks([], known) is None


def broken(seen: Outcome) -> list[str]:
    return [claim.text.splitlines()[0] for claim in claims(seen) if not claim.holds]


def test_a_run_in_which_all_held_has_no_broken_claim() -> None:
    assert broken(good()) == []


def test_a_repeated_try_of_one_event_is_no_second_event() -> None:
    seen = good()

    assert broken(dataclasses.replace(seen, receipts=[*seen.receipts, seen.receipts[0]])) == []


def test_a_failed_job_breaks_the_verdict() -> None:
    seen = good()
    failed = job(seen.shots[0], status="failed", error_message="why", cost_usd=0)

    assert len(broken(dataclasses.replace(seen, jobs=[failed, *seen.jobs[1:]]))) == 3


def test_a_bad_or_missing_film_breaks_it() -> None:
    seen = good()
    bad = dataclasses.replace(seen.films[0], defect="too short")

    assert broken(dataclasses.replace(seen, films=[bad, *seen.films[1:]]))
    assert broken(dataclasses.replace(seen, films=seen.films[1:]))


@pytest.mark.parametrize(
    "change",
    [{"is_signed": False}, {"id": "evt_2nd"}, {"type": "video.failed"}, {"job_id": "job_other"}],
)
def test_a_wrong_webhook_breaks_it(change: dict[str, Any]) -> None:
    seen = good()
    wrong = dataclasses.replace(seen.receipts[0], **change)

    assert broken(dataclasses.replace(seen, receipts=[*seen.receipts, wrong]))


def test_a_missing_webhook_breaks_it() -> None:
    seen = good()

    assert broken(dataclasses.replace(seen, receipts=seen.receipts[1:]))


def test_a_second_bill_for_one_job_breaks_it() -> None:
    seen = good()
    twice = dataclasses.replace(seen, bill=[*seen.bill, seen.bill[0]])

    (text,) = (claim.text for claim in claims(twice) if not claim.holds)
    assert "double-billed: 1" in text
    assert f"2 x {seen.shots[0].prompt!r}" in text


def test_a_missing_bill_breaks_it() -> None:
    seen = good()

    assert broken(dataclasses.replace(seen, bill=seen.bill[1:]))


@pytest.mark.parametrize("cost", [0, 0.6])
def test_a_cost_that_is_nothing_or_above_its_estimate_breaks_it(cost: float) -> None:
    seen = good()
    odd = job(seen.shots[0], cost_usd=cost)

    assert broken(dataclasses.replace(seen, jobs=[odd, *seen.jobs[1:]]))


@pytest.mark.parametrize("hops", [[], [{"from_model": FIRST, "to_model": FIRST}]])
def test_a_gate_that_did_not_move_on_breaks_it(hops: list[dict[str, str]]) -> None:
    seen = good()
    stayed = job(seen.shots[-1], hops=hops)

    assert broken(dataclasses.replace(seen, jobs=[*seen.jobs[:-1], stayed]))


@pytest.mark.parametrize("change", [{"spent_micros": 1}, {"reserved_micros": 1}])
def test_a_balance_that_is_not_the_jobs_breaks_it(change: dict[str, Any]) -> None:
    seen = good()
    odd = dataclasses.replace(seen.balance, **change)

    assert broken(dataclasses.replace(seen, balance=odd))


def test_a_set_of_entries_that_does_not_sum_to_zero_breaks_it() -> None:
    seen = good()

    assert broken(dataclasses.replace(seen, statement=[*seen.statement, entry(1)]))
    assert broken(dataclasses.replace(seen, statement=[]))


# --- other systems' programs


def with_run(seen: Outcome, **change: Any) -> Outcome:
    first, *others = seen.runs
    return dataclasses.replace(seen, runs=[dataclasses.replace(first, **change), *others])


def test_the_claim_names_the_programs_that_finished_and_those_left_out() -> None:
    (claim,) = (claim for claim in claims(good()) if "of other systems" in claim.text)

    assert claim.holds
    assert claim.text == (
        "2 of 2 programs of other systems finished: OpenAI (openai 1.0), Perf (Python 1.0); "
        "left out: AI/ML API (aimlapi-sdk-python 1.0): its client is not here"
    )


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"failure": "exit code 1: KeyError: 'id'"}, "exit code 1: KeyError: 'id'"),
        ({"film": None}, "its job is complete and there is no 101-OpenAI.mp4"),
        ({"film": Film(path=Path("a"), frames=0, seconds=0, defect="too short")}, "too short"),
    ],
)
def test_a_broken_program_breaks_the_claim(change: dict[str, Any], why: str) -> None:
    (claim,) = (claim for claim in claims(with_run(good(), **change)) if not claim.holds)

    assert claim.text.startswith("1 of 2 programs of other systems finished: Perf (Python 1.0);")
    assert claim.text.endswith(f"\n    101-OpenAI: {why}")


def test_a_program_without_a_job_or_with_two_breaks_it() -> None:
    seen = good()
    ours = list(seen.runs[0].jobs)

    assert any("0 jobs, not 1" in c.text for c in claims(with_run(seen, jobs=[])) if not c.holds)
    twice = claims(with_run(seen, jobs=[*ours, *ours]))
    assert any("2 jobs, not 1" in claim.text for claim in twice if not claim.holds)


def test_a_demo_that_left_out_every_program_breaks_it() -> None:
    seen = good()
    none = dataclasses.replace(seen, runs=[seen.runs[-1]], bill=seen.bill[:-2])

    assert [text[:30] for text in broken(none)][:1] == ["0 of 0 programs of other syste"]


def test_a_programs_job_is_paid_once_priced_and_in_the_ledger() -> None:
    seen = good()
    free = [dict(seen.runs[0].jobs[0]) | {"cost_usd": 0}]

    assert broken(dataclasses.replace(seen, bill=seen.bill[:-1])) == [
        f"{len(seen.bill) - 1} paid requests for {len(seen.bill)} jobs, double-billed: 0"
    ]
    assert broken(dataclasses.replace(seen, bill=[*seen.bill, seen.bill[-1]]))
    priced, balanced = broken(with_run(seen, jobs=free))
    assert priced.startswith("every job has its cost")
    assert "sets of entries" in balanced


# --- the receiver


@pytest.mark.anyio
async def test_the_receiver_tells_signed_from_unsigned() -> None:
    body = json.dumps({"type": "video.completed", "data": {"id": "j", "status": "complete"}})
    async with receiving(SECRET) as receiver, aiohttp.ClientSession() as client:
        signed = _signed(body.encode())
        assert (await client.post(receiver.url, data=body, headers=signed)).status == 204
        forged = signed | {"webhook-signature": "v1,Zm9yZ2Vk"}
        assert (await client.post(receiver.url, data=body, headers=forged)).status == 401
        await receiver.heard_of(["j"], bound=1)
        await receiver.heard_of(["never"], bound=0.01)

    assert [receipt.is_signed for receipt in receiver.receipts] == [True, False]


def _signed(body: bytes) -> dict[str, str]:
    return headers(SECRET, message_id="evt_1", timestamp=int(time.time()), body=body)


def test_the_demo_has_no_vendors_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = ("RUNWAYML_API_SECRET", "RUNWAYML_API_SECRET__TEAM", "LUMAAI_API_KEY_FILE")
    for name in (*secrets, "SOME_TOKEN__TEAM"):
        monkeypatch.setenv(name, "key_secret")
    kept = _own_environment(Place(tmp_path))
    assert "SOME_TOKEN__TEAM" in kept
    assert not kept.keys() & set(secrets)
    assert not [name for name in kept if is_vendor_variable(name)]
