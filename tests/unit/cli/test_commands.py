"""What the commands ask, print and exit with."""

import json
import os
from pathlib import Path

import pytest

from models.scene import KNOBS
from tests.unit.cli.scripted import JOB, FakeApi, Run

ALL = (
    *("up", "demo", "submit", "get", "wait", "list", "cancel", "retry", "delete", "models"),
    *("gates", "keys", "limits", "providers"),
)
PENDING = {
    "id": "job_vid_1",
    "status": "pending",
    "model": "m",
    "prompt": "A fox",
    "progress_percent": 0,
}


@pytest.mark.parametrize("command", ALL)
def test_every_command_explains_itself(run: Run, command: str) -> None:
    help_ = run(command, "--help")

    assert help_.code == 0
    assert "Usage: longtake" in help_.out
    assert command in run("--help").out


def test_submit_prints_the_id_alone(run: Run, api: FakeApi) -> None:
    ended = run("submit", "A fox", "--api-url", api.url)

    assert (ended.code, ended.out, ended.err) == (0, "job_vid_1\n", "")


def test_submit_sends_only_what_was_given(run: Run, api: FakeApi) -> None:
    run(
        *("submit", "A fox", "-m", "veo-3", "-d", "4", "--aspect-ratio", "9:16", "--no-audio"),
        *("--app-id", "shop", "--api-key", "lt_key", "--api-url", api.url),
    )

    (asked,) = api.asked
    assert asked.body == {
        "prompt": "A fox",
        "model": "veo-3",
        "duration_seconds": 4,
        "aspect_ratio": "9:16",
        "audio": False,
    }
    assert asked.headers["Authorization"] == "Bearer lt_key"
    assert asked.headers["X-App-ID"] == "shop"


def test_a_submit_without_an_answer_is_repeated_under_the_same_key(run: Run, api: FakeApi) -> None:
    # Given an API that is away for a moment
    api.answers = [(502, b"bad gateway"), (202, PENDING)]

    # Then the job is asked for twice, and made once
    assert run("submit", "A fox", "--api-url", api.url).code == 0
    assert len(api.asked) == 2
    assert len({asked.headers["Idempotency-Key"] for asked in api.asked}) == 1


def test_two_submits_are_two_jobs(run: Run, api: FakeApi) -> None:
    for _ in range(2):
        run("submit", "A fox", "--api-url", api.url)

    assert len({asked.headers["Idempotency-Key"] for asked in api.asked}) == 2


def test_a_picture_in_a_file_is_sent_along(run: Run, api: FakeApi, tmp_path: Path) -> None:
    still = tmp_path / "still.png"
    still.write_bytes(b"png")

    run("submit", "A fox", "--image", str(still), "--api-url", api.url)

    assert api.asked[0].body["image"] == "data:image/png;base64,cG5n"


def test_several_pictures_are_sent_as_a_list(run: Run, api: FakeApi, tmp_path: Path) -> None:
    still, link = tmp_path / "still.png", "https://pictures.example.com/a.png"
    still.write_bytes(b"png")
    pictures = ("--reference-image", link, "--reference-image", str(still))

    run("submit", "A fox", *pictures, "--api-url", api.url)

    assert api.asked[0].body["reference_images"] == [link, "data:image/png;base64,cG5n"]


def test_the_type_of_a_reference_picture_comes_before_an_equals_sign(
    run: Run, api: FakeApi, tmp_path: Path
) -> None:
    still, link = tmp_path / "still.png", "https://pictures.example.com/a.png?style=1"
    still.write_bytes(b"png")
    pictures = [f"style={still}", f"subject={link}", link]

    run(
        "submit", "A fox", *(f"--reference-image={each}" for each in pictures), "--api-url", api.url
    )

    assert api.asked[0].body["reference_images"] == [
        {"image": "data:image/png;base64,cG5n", "type": "style"},
        {"image": link, "type": "subject"},
        link,
    ]


def test_a_picture_that_can_not_be_read_is_refused_by_its_option(run: Run, api: FakeApi) -> None:
    for option in ("--last-image", "--reference-image"):
        ended = run("submit", "A fox", option, "/nonexistent.png", "--api-url", api.url)
        assert ended.code == 2
        assert f"cannot read {option} /nonexistent.png" in ended.err
    assert not api.asked


def test_every_generation_parameter_is_an_option(run: Run, api: FakeApi) -> None:
    given = {
        "seed": ("--seed", "0"),
        "negative_prompt": ("--negative-prompt", "rain"),
        "cfg_scale": ("--cfg-scale", "0.5"),
        "motion_bucket_id": ("--motion-bucket-id", "9"),
        "person_generation": ("--person-generation", "allow_adult"),
        "watermark": ("--no-watermark",),
        "audio": ("--audio",),
    }
    options = [word for words in given.values() for word in words]

    run("submit", "A fox", *options, "--api-url", api.url)

    assert api.asked[0].body == {
        "prompt": "A fox",
        "seed": 0,
        "negative_prompt": "rain",
        "cfg_scale": 0.5,
        "motion_bucket_id": 9,
        "person_generation": "allow_adult",
        "watermark": False,
        "audio": True,
    }
    assert given.keys() == set(KNOBS)  # a new parameter belongs into this test


def test_waiting_ends_with_the_job(run: Run, api: FakeApi) -> None:
    api.answers = [(202, PENDING), (200, PENDING), *api.answers]

    ended = run("submit", "A fox", "--wait", "--api-url", api.url)

    assert ended.code == 0
    assert "job_vid_1 pending\njob_vid_1 complete\n" in ended.err


def test_waiting_survives_an_api_that_restarts(run: Run, api: FakeApi) -> None:
    api.answers = [(200, PENDING), (503, b"restarting"), *api.answers]

    assert run("wait", "job_vid_1", "--api-url", api.url).code == 0


def test_a_retry_prints_the_new_jobs_id_and_is_repeated_under_one_key(
    run: Run, api: FakeApi
) -> None:
    api.answers = [(502, b"bad gateway"), (202, PENDING | {"id": "job_vid_2"})]

    ended = run("retry", "job_vid_1", "--api-url", api.url)

    assert (ended.code, ended.out) == (0, "job_vid_2\n")
    assert {(asked.method, asked.path) for asked in api.asked} == {
        ("POST", "/v1/video/generations/job_vid_1/retry")
    }
    assert len(api.asked) == 2
    assert len({asked.headers["Idempotency-Key"] for asked in api.asked}) == 1


def test_a_retry_that_is_refused_says_why(run: Run, api: FakeApi) -> None:
    api.refuse(409, "job job_vid_1 is complete: only a failed …", kind="conflict")

    ended = run("retry", "job_vid_1", "--api-url", api.url)

    assert ended.code == 2
    assert "job job_vid_1 is complete" in ended.err


def test_a_delete_says_what_stays(run: Run, api: FakeApi) -> None:
    told = {"id": "job_vid_1", "object": "video.generation", "deleted": True}
    api.answers = [(200, told)]

    ended = run("delete", "job_vid_1", "--api-url", api.url)
    as_json = run("delete", "job_vid_1", "--json", "--api-url", api.url)

    assert ended.code == 0
    assert "job_vid_1 is deleted; its times and its cost stay." in ended.err
    assert json.loads(as_json.out) == told
    assert {asked.method for asked in api.asked} == {"DELETE"}


def test_a_failed_job_exits_with_1_and_says_why(run: Run, api: FakeApi) -> None:
    failed = api.answers[0][1] | {"status": "failed", "error_message": "too dark"}
    api.answers = [(200, failed)]

    ended = run("wait", "job_vid_1", "--api-url", api.url)

    assert ended.code == 1
    assert "error: job_vid_1 failed: too dark" in ended.err


def test_a_video_is_saved_whole_or_not_at_all(run: Run, api: FakeApi, tmp_path: Path) -> None:
    # Given a complete job whose video can't be had at first
    film = tmp_path / "film.mp4"
    job = api.answers[0][1] | {"video_url": f"{api.url}/film"}
    wait = ("wait", "job_vid_1", "--out", str(film), "--api-url", api.url)
    api.answers = [(200, job), (404, {"error": {"message": "not stored"}})]

    assert run(*wait).code == 2
    assert not film.exists()

    # When it is there
    api.answers = [(200, job), (200, b"mp4")]

    # Then it is saved
    assert run(*wait).code == 0
    assert film.read_bytes() == b"mp4"


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_paid_for(
    run: Run, api: FakeApi, tmp_path: Path
) -> None:
    film = tmp_path / "no such folder" / "film.mp4"

    missing = run("submit", "A fox", "--out", str(film), "--api-url", api.url)
    folder = run("submit", "A fox", "--out", str(tmp_path), "--api-url", api.url)

    assert (missing.code, folder.code) == (2, 2)
    assert missing.err == f"error: --out: cannot write {film}: No such file or directory\n"
    assert folder.err == f"error: --out must be a file: {tmp_path} is a folder\n"
    assert not api.asked


def test_a_pipe_or_a_name_that_no_file_can_have_is_refused(
    run: Run, api: FakeApi, tmp_path: Path
) -> None:
    pipe, long = tmp_path / "pipe", tmp_path / ("long" * 100)
    os.mkfifo(pipe)

    piped = run("submit", "A fox", "--out", str(pipe), "--api-url", api.url)
    named = run("submit", "A fox", "--out", str(long), "--api-url", api.url)

    assert piped.err == f"error: --out must be a file: {pipe} is a device or a pipe\n"
    assert named.err == f"error: --out: cannot write {long}: File name too long\n"
    assert not api.asked


def test_a_file_that_can_no_longer_be_written_is_an_error_and_no_traceback(
    run: Run, api: FakeApi, tmp_path: Path
) -> None:
    film = tmp_path / "film.mp4"
    (tmp_path / "film.mp4.part").mkdir()
    api.answers = [(200, api.answers[0][1] | {"video_url": f"{api.url}/film"}), (200, b"mp4")]

    ended = run("wait", "job_vid_1", "--out", str(film), "--api-url", api.url)

    assert ended.code == 2
    assert f"error: --out: cannot write {film}: Is a directory" in ended.err


@pytest.mark.parametrize(
    ("arguments", "typed"),
    [
        (("list", "--limit", "0"), "'0'"),
        (("submit", "A fox", "--duration", "five"), "'five'"),
        (("gates", "create", "shop", "-m", "luma", "--spending-limit", "[b]"), "'[b]'"),
    ],
)
def test_a_wrong_number_is_shown(run: Run, arguments: tuple[str, ...], typed: str) -> None:
    ended = run(*arguments)

    assert ended.code == 2
    assert f"(it is {typed})" in " ".join(ended.err.replace("│", " ").split())


def test_a_refusal_is_the_apis_own_sentence(run: Run, api: FakeApi) -> None:
    api.refuse(400, "duration_seconds exceeds maximum of 10 for [m] model")

    ended = run("submit", "A fox", "--api-url", api.url)

    assert ended.code == 2
    assert ended.err == "error: duration_seconds exceeds maximum of 10 for [m] model\n"


def test_a_wrong_key_says_where_keys_come_from(run: Run, api: FakeApi) -> None:
    api.refuse(401, "the API key is not known", kind="authentication_error")

    assert "LONGTAKE_API_KEY" in run("list", "--api-url", api.url).err


def test_a_model_without_credentials_is_a_refusal(run: Run, api: FakeApi) -> None:
    api.refuse(503, "model pika needs FAL_KEY to be set", kind="model_unavailable")

    assert run("submit", "A fox", "--api-url", api.url).code == 2


def test_an_api_that_is_not_there_exits_with_3(run: Run) -> None:
    ended = run("list", "--api-url", "http://127.0.0.1:9")

    assert ended.code == 3
    assert "longtake up --simulate" in ended.err


@pytest.mark.parametrize("arguments", [["submit"], ["get", "../keys"], ["list", "--limit", "0"]])
def test_a_wrong_use_exits_with_2(run: Run, arguments: list[str]) -> None:
    assert run(*arguments).code == 2


def test_words_of_users_are_never_markup(run: Run, api: FakeApi) -> None:
    job = api.answers[0][1]
    api.answers = [(200, job)]
    assert "A [bold] fox" in run("get", "job_vid_1", "--api-url", api.url).out

    api.answers = [(200, {"data": [job], "has_more": True, "next": "job_vid_1"})]
    listed = run("list", "--status", "complete", "--api-url", api.url)
    assert "A [bold] fox" in listed.out
    assert listed.err == "More: --after job_vid_1\n"
    assert api.asked[-1].path == "/v1/video/generations?status=complete&limit=20"


def test_json_is_the_apis_own(run: Run, api: FakeApi) -> None:
    for command in ("get", "cancel"):
        assert (
            json.loads(run(command, "job_vid_1", "--json", "--api-url", api.url).out)
            == (api.answers[0][1])
        )


def test_the_development_key_goes_to_this_machines_stack_only(
    run: Run, api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a kept key
    (tmp_path / "dev-api-key").write_text("lt_kept\n")

    # Then a stack of this machine gets it
    monkeypatch.setenv("LONGTAKE_API_PORT", api.url.rpartition(":")[2])
    run("get", "job_vid_1")
    assert api.asked[-1].headers["Authorization"] == "Bearer lt_kept"

    # And nobody who is named
    run("get", "job_vid_1", "--api-url", api.url)
    assert "Authorization" not in api.asked[-1].headers


def test_keys_without_a_database_say_what_to_start(run: Run) -> None:
    ended = run("keys", "list")

    assert ended.code == 2
    assert "longtake up" in ended.err


def test_a_job_that_waits_is_shown_with_its_reason(run: Run, api: FakeApi) -> None:
    waiting = {"code": "paused", "since": "2026-01-01T00:00:00.000Z", "message": "new requests …"}
    api.answers = [(200, JOB | {"status": "pending", "waiting": waiting})]

    ended = run("get", "job_vid_1", "--api-key", "lt_key", "--api-url", api.url)

    assert "paused since 2026-01-01T00:00:00.000Z: new requests …" in " ".join(ended.out.split())


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("money", "balance", "\udcff"), "argument 3"),
        (("limits", "show", "--tenant", "\udcff"), "--tenant"),
        (("submit", "A fox", "--model=\udcff"), "argument 3"),
    ],
)
def test_bytes_that_are_no_text_are_refused(
    run: Run, arguments: tuple[str, ...], name: str
) -> None:
    ended = run(*arguments)

    assert ended.code == 2
    assert ended.err.startswith(f"error: {name} must be text in UTF-8 (it is '")
