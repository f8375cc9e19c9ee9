"""What `longtake gates` asks and prints."""

from typing import Any

import pytest

from tests.unit.cli.scripted import JOB, FakeApi, Run

GATE: dict[str, Any] = {
    "id": "gate_1",
    "name": "shop",
    "strategy": "fallback",
    "model": "runway-gen3",
    "fallback_models": ["luma", "veo-3"],
    "overrides": ["seed", "fps"],
    "spending_limit_usd": 250.0,
}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), {"strategy": "single", "fallback_models": [], "overrides": "all"}),
        (("-f", "luma", "-f", "veo-3"), {"strategy": "fallback"}),
        (("-f", "luma", "--strategy", "round-robin"), {"strategy": "round-robin"}),
        (("--overrides", "seed,fps"), {"overrides": ["seed", "fps"]}),
        (("--overrides", "none"), {"overrides": "none"}),
        (("--spending-limit", "2.5"), {"spending_limit_usd": 2.5}),
    ],
)
def test_create_sends_what_was_given_and_prints_the_id_alone(
    run: Run, api: FakeApi, options: tuple[str, ...], expected: dict[str, Any]
) -> None:
    api.answers = [(201, GATE)]
    ended = run("gates", "create", "shop", "-m", "runway-gen3", *options, "--api-url", api.url)

    assert (ended.code, ended.out, ended.err) == (0, "gate_1\n", "")
    (asked,) = api.asked
    assert (asked.method, asked.path) == ("POST", "/v1/gates")
    wanted = {"name": "shop", "model": "runway-gen3"} | expected
    assert {name: asked.body[name] for name in wanted} == wanted


def test_list_shows_a_gates_models_in_order_and_where_there_are_more(
    run: Run, api: FakeApi
) -> None:
    api.answers = [(200, {"data": [GATE], "has_more": True, "next": "gate_1"})]
    ended = run("gates", "list", "--limit", "1", "--api-url", api.url)

    assert api.asked[0].path == "/v1/gates?limit=1"
    assert "runway-gen3, luma, veo-3" in ended.out
    assert "seed, fps" in ended.out
    assert "$250.00" in ended.out
    assert ended.err == "More: --after gate_1\n"


def test_show_and_delete_take_any_name(run: Run, api: FakeApi) -> None:
    api.answers = [(200, GATE | {"overrides": "all", "spending_limit_usd": None})]
    shown = run("gates", "show", "shop:a", "--api-url", api.url)
    run("gates", "delete", "a/b", "--api-url", api.url)

    assert "limit      none\n" in shown.out
    assert [(asked.method, asked.path) for asked in api.asked] == [
        ("GET", "/v1/gates/shop%3Aa"),
        ("DELETE", "/v1/gates/a%2Fb"),
    ]


def test_a_gates_refusal_is_printed(run: Run, api: FakeApi) -> None:
    api.refuse(400, "model must be one of gen4.5")
    ended = run("gates", "create", "shop", "-m", "nobody", "--api-url", api.url)

    assert ended.code != 0
    assert "model must be one of gen4.5" in ended.err


def test_a_job_is_submitted_through_a_gate_and_shows_its_hops(run: Run, api: FakeApi) -> None:
    hop = {"from_model": "gen4.5", "to_model": "ray-3.2", "code": "refused"}
    api.answers = [(202, JOB), (200, JOB | {"gate": "gate_1", "hops": [hop]})]
    run("submit", "A fox", "--gate", "shop", "--api-url", api.url)
    shown = run("get", "job_vid_1", "--api-url", api.url)

    assert api.asked[0].body == {"prompt": "A fox", "gate": "shop"}
    assert "gate_1" in shown.out
    assert "gen4.5 to ray-3.2 (refused)" in shown.out
