"""Pictures that earlier jobs made, and pictures that requests contain."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from catalog.resolve import resolve
from models import pictures
from models.failure import RequestRefused
from models.invariants import violations
from models.request import VideoRequest
from models.scene import JobReference, Picture, Reference, Scene
from models.state import JobState
from models.verbs import What
from storage.base import video_key
from tasks.deletion import delete
from tasks.engine import Engine
from tasks.intake import accept
from tasks.outcomes.finish import CANCELLED, finish
from tasks.pictures import check_references
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tasks.repeats import Caller
from tasks.retry import retry
from tasks.upkeep.reseal import reseal
from tasks.upkeep.retention import prune_once
from tasks.view import job_view, read_jobs
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, facing, video
from tests.integration.engine.waiting import until
from transport.base import NotSent, Request, Response

pytestmark = pytest.mark.anyio

PICTURE = "data:image/png;base64,iVBORw0KGgo="
OTHER = "data:image/png;base64,iVBORw0KGgp="
LINK = "https://pictures.example.com/a.png?signature=secret"


def answering(answer: Response | Exception) -> FarSide:
    async def reply(_: Request) -> Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return FarSide(reply)


async def stored_job(engine: Engine, tmp_path: Path) -> str:
    """A finished job of tenant default, with a real video in storage."""
    first = await accept(engine, VideoRequest(prompt="a red ball"), tenant="default")
    rows = await engine.database.fetch(
        "SELECT output.id, job.created_at FROM output JOIN job ON job.id = job WHERE job = %s",
        (first.job_id,),
    )
    path = tmp_path / "made.mp4"
    path.write_bytes(video())
    key = video_key(first.job_id, rows[0]["id"], rows[0]["created_at"])
    await engine.storage.put_file(key, path, content_type="video/mp4")
    await engine.database.fetch(
        "UPDATE output SET state = 'stored', key = %s WHERE id = %s", (key, rows[0]["id"])
    )
    await engine.database.fetch("DELETE FROM due")
    return first.job_id


async def test_an_earlier_jobs_last_frame_begins_the_next_one(
    make_engine: MakeEngine, tmp_path: Path
) -> None:
    # Given a finished job, and another that begins with its last frame
    far_side = answering(NotSent("nobody there"))
    engine = facing(make_engine(), far_side)
    earlier = await stored_job(engine, tmp_path)
    request = VideoRequest.from_json({"prompt": "it rolls on", "image": {"job_id": earlier}})
    await accept(engine, request, tenant="default")

    # When it is submitted
    await Pump(verb_for(What.SUBMIT, engine), engine.database, "runway", seconds=5).run()

    # Then the provider is sent a JPEG, in the place of a picture
    assert [request.method for request in far_side.requests] == ["POST"]
    body = json.loads(far_side.requests[0].content or b"")
    assert "data:image/jpeg;base64,/9j/" in json.dumps(body["promptImage"])
    await engine.database.close()


async def test_a_references_type_is_sealed_with_its_picture_and_reaches_the_vendor(
    make_engine: MakeEngine, tmp_path: Path
) -> None:
    # Given a job whose references have each of the types, one of them an earlier job's frame
    far_side = answering(NotSent("nobody there"))
    account = {"LAYER_API_KEY": "sk-layer-test", "LAYER_GATE_ID": str(uuid4())}
    engine = facing(make_engine(**account), far_side)
    earlier = await stored_job(engine, tmp_path)
    subject = {"image": {"job_id": earlier}, "type": "subject"}
    style = {"image": LINK, "type": "style"}
    body = {"model": "layer/gen4.5", "prompt": "it rolls on"}
    request = VideoRequest.from_json(body | {"reference_images": [subject, style, LINK]})
    job = (await accept(engine, request, tenant="default")).job_id

    # Then they are sealed, and what was sealed is the request again, as a retry reads it
    (row,) = await engine.database.fetch(
        "SELECT scene, request, plan FROM job JOIN attempt ON job = job.id WHERE job.id = %s",
        (job,),
    )
    sealed = engine.vault.open_json(row["scene"])["reference_images"]
    assert sealed == [subject, style, {"image": LINK, "type": "asset"}]
    assert VideoRequest.from_json(body | {"reference_images": sealed}) == request
    assert "reference_images" not in json.dumps([row["request"], row["plan"]])

    # When it is submitted
    await Pump(verb_for(What.SUBMIT, engine), engine.database, "layer", seconds=5).run()

    # Then the vendor is told each type
    sent = json.loads(far_side.requests[0].content or b"")["data"]["referenceImages"]
    assert [each["referenceType"] for each in sent] == ["subject", "style", "asset"]
    assert sent[0]["base64"].startswith("data:image/jpeg;base64,/9j/")
    assert [each["url"] for each in sent[1:]] == [LINK, LINK]
    await engine.database.close()


async def test_a_frame_of_another_tenants_job_is_refused_and_leaves_no_row(
    make_engine: MakeEngine, tmp_path: Path
) -> None:
    engine = facing(make_engine(), answering(NotSent("nobody there")))
    theirs = await stored_job(engine, tmp_path)
    await engine.database.fetch("INSERT INTO tenant (id) VALUES ('other')")
    request = VideoRequest.from_json({"prompt": "mine now", "image": {"job_id": theirs}})

    with pytest.raises(RequestRefused, match=theirs):
        await accept(engine, request, tenant="other")

    rows = await engine.database.fetch("SELECT count(*) FROM job WHERE tenant = 'other'")
    assert rows[0]["count"] == 0
    await engine.database.close()


@pytest.mark.parametrize("param", ["image", "last_image", "reference_images[1]"])
async def test_the_picture_that_is_of_no_stored_video_is_named(
    make_engine: MakeEngine, tmp_path: Path, param: str
) -> None:
    engine = facing(make_engine(), answering(NotSent("nobody there")))
    good = JobReference(job_id=await stored_job(engine, tmp_path))
    values = dict.fromkeys(
        ("image", "last_image", "reference_images[0]", "reference_images[1]"), good
    )
    values[param] = JobReference(job_id="job_x")
    plan = resolve(VideoRequest(prompt="it rolls on"), engine.catalog, engine.accounts)
    scene = Scene[Picture](
        prompt="it rolls on",
        image=values["image"],
        last_image=values["last_image"],
        reference_images=tuple(
            Reference[Picture](image=values[f"reference_images[{at}]"]) for at in range(2)
        ),
    )

    with pytest.raises(RequestRefused, match="job_x") as refused:
        await engine.database.run(
            lambda connection: check_references(
                connection, replace(plan, scene=scene), tenant="default"
            )
        )

    assert refused.value.param == param
    await engine.database.close()


async def test_a_picture_is_kept_once_for_a_tenant_and_reaches_the_vendor(
    make_engine: MakeEngine,
) -> None:
    # Given two jobs of one tenant and one of another with the same picture, once as a reference
    far_side = answering(NotSent("nobody there"))
    engine = facing(make_engine(), far_side)
    await engine.database.fetch("INSERT INTO tenant (id) VALUES ('other')")
    bodies = [{"image": PICTURE}, {"image": PICTURE, "last_image": LINK}, {"image": PICTURE}]
    for body, tenant in zip(bodies, ("default", "default", "other"), strict=True):
        request = VideoRequest.from_json({"prompt": "it rolls on", "model": "veo3.1"} | body)
        await accept(engine, request, tenant=tenant)

    # Then it is stored once for each tenant, sealed, and no job's row has it
    rows = await engine.database.fetch("SELECT id, tenant, sealed, bytes FROM picture")
    assert sorted(row["tenant"] for row in rows) == ["default", "other"]
    for row in rows:
        assert engine.vault.open(row["sealed"]).decode() == PICTURE
        assert row["bytes"] == len(PICTURE)
    (first, *_) = await engine.database.fetch("SELECT scene FROM job ORDER BY id")
    stored = next(row["id"] for row in rows if row["tenant"] == "default")
    assert engine.vault.open_json(first["scene"])["image"] == {"picture": stored}
    assert await engine.database.run(violations) == []

    # When they are submitted
    await Pump(verb_for(What.SUBMIT, engine), engine.database, "runway", seconds=5).run()

    # Then each is sent it
    assert len(far_side.requests) == 3
    assert all(PICTURE in (each.content or b"").decode() for each in far_side.requests)
    assert sum(LINK in (each.content or b"").decode() for each in far_side.requests) == 1
    await engine.database.close()


async def test_a_job_of_the_version_before_is_sent_the_picture_in_its_scene(
    make_engine: MakeEngine,
) -> None:
    # Given a job whose scene contains its picture, and is too large to be loaded with others
    far_side = answering(NotSent("nobody there"))
    engine = facing(make_engine(), far_side)
    request = VideoRequest.from_json({"prompt": "it rolls on", "image": PICTURE})
    job = (await accept(engine, request, tenant="default")).job_id
    large = f"data:image/png;base64,iVBORw0KGgoA{'A' * 100_000}"
    scene = {"prompt": "it rolls on", "image": large, "reference_images": []}
    await engine.database.fetch(
        "UPDATE job SET scene = %s WHERE id = %s", (engine.vault.seal_json(scene), job)
    )

    await Pump(verb_for(What.SUBMIT, engine), engine.database, "runway", seconds=5).run()

    assert large in (far_side.requests[0].content or b"").decode()
    await engine.database.close()


async def test_a_picture_goes_with_the_last_job_that_uses_it(make_engine: MakeEngine) -> None:
    # Given two jobs with one picture, and one of them with another beside it
    engine = facing(make_engine(), answering(NotSent("nobody there")))
    jobs = []
    for body in ({"image": PICTURE}, {"image": PICTURE, "last_image": OTHER}):
        request = VideoRequest.from_json({"prompt": "x", "model": "veo3.1"} | body)
        jobs.append((await accept(engine, request, tenant="default")).job_id)

    async def left() -> int:
        rows = await engine.database.fetch("SELECT count(*) AS n FROM picture")
        count: int = rows[0]["n"]
        return count

    assert await left() == 2

    # When one is erased, and the other is too old
    await delete(engine, jobs[1], tenant="default")
    await Pump(verb_for(What.ERASE, engine), engine.database, "-", seconds=5).run()
    assert await left() == 1
    assert await engine.database.run(violations) == []
    await engine.database.run(
        lambda on: finish(engine, on, JobState.CANCELLED, jobs[:1], failures={jobs[0]: CANCELLED})
    )
    assert await left() == 1  # for a retry
    await engine.database.fetch("UPDATE job SET finished_at = now() - interval '9 days'")
    old = replace(engine, settings=engine.settings.model_copy(update={"keep_jobs_days": 3}))
    assert (await prune_once(old)).jobs == 2

    # Then nothing of them is left
    assert await left() == 0
    await engine.database.close()


async def test_what_a_worker_of_the_version_before_leaves_is_swept(
    make_engine: MakeEngine,
) -> None:
    # Given three jobs, of which one was erased and one deleted by who knows of no pictures
    engine = facing(make_engine(), answering(NotSent("nobody there")))
    jobs = []
    for number in range(3):
        picture = f"data:image/png;base64,iVBORw0KGgoAAA{number:02}"
        request = VideoRequest.from_json({"prompt": "x", "image": picture})
        jobs.append((await accept(engine, request, tenant="default")).job_id)
    await engine.database.fetch("UPDATE job SET erased_at = now() WHERE id = %s", (jobs[0],))
    await engine.database.fetch("DELETE FROM job WHERE id = %s", (jobs[1],))
    found = {each.kind for each in await engine.database.run(violations)}
    assert {"picture_unused", "picture_kept"} <= found

    await prune_once(engine)

    rows = await engine.database.fetch("SELECT job FROM picture JOIN picture_use ON picture = id")
    assert [row["job"] for row in rows] == jobs[2:]
    rows = await engine.database.fetch("SELECT id FROM picture")
    assert len(rows) == 1
    await engine.database.close()


async def test_a_picture_that_another_request_takes_up_meanwhile_stays(
    make_engine: MakeEngine,
) -> None:
    # Given a job with a picture, and a transaction that has taken it up for another
    engine = facing(make_engine(), answering(NotSent("nobody there")))
    jobs = []
    for body in ({"image": PICTURE}, {}):
        request = VideoRequest.from_json({"prompt": "x"} | body)
        jobs.append((await accept(engine, request, tenant="default")).job_id)
    same = pictures.seal(engine.vault, PICTURE.encode(), tenant="default")

    async def is_waiting() -> bool:
        rows = await engine.database.fetch(
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND datname = current_database()"
        )
        return bool(rows)

    async with engine.database.transaction() as taking:
        await pictures.keep(taking, jobs[1], {"image": same}, tenant="default")

        # When its last use that others see is removed
        removing = asyncio.create_task(
            engine.database.run(lambda on: pictures.forget(on, jobs[:1]))
        )
        await until(is_waiting)
    await removing

    # Then it is still there
    rows = await engine.database.fetch("SELECT job FROM picture JOIN picture_use ON picture = id")
    assert [row["job"] for row in rows] == jobs[1:]
    assert await engine.database.run(violations) == []
    await engine.database.close()


async def test_a_retry_and_a_new_key_keep_the_picture(make_engine: MakeEngine) -> None:
    # Given a cancelled job with two pictures
    engine = facing(make_engine(), answering(NotSent("nobody there")))
    account = {"LAYER_API_KEY": "sk-layer-test", "LAYER_GATE_ID": str(uuid4())}
    engine = facing(make_engine(**account), answering(NotSent("nobody there")))
    body = {"prompt": "x", "model": "layer/gen4.5"}
    given = body | {"reference_images": [{"image": PICTURE, "type": "style"}, OTHER]}
    job = (await accept(engine, VideoRequest.from_json(given), tenant="default")).job_id
    await engine.database.run(
        lambda on: finish(engine, on, JobState.CANCELLED, [job], failures={job: CANCELLED})
    )

    # When the keys are rotated, and it is retried with the new one alone
    keys = {"LONGTAKE_SECRET_KEYS": "another-key-that-only-tests-use-012345"}
    both = f"{keys['LONGTAKE_SECRET_KEYS']},a-key-that-only-tests-use-0123456789"
    rotated = make_engine(**account | {"LONGTAKE_SECRET_KEYS": both})
    await reseal(rotated)
    far_side = answering(NotSent("nobody there"))
    new = facing(make_engine(**account | keys), far_side)
    again, _ = await retry(new, job, tenant="default", caller=Caller())
    await Pump(verb_for(What.SUBMIT, new), new.database, "layer", seconds=5).run()

    # Then the vendor is sent the pictures, and each job has its own
    sent = json.loads(far_side.requests[0].content or b"")["data"]["referenceImages"]
    assert [each["base64"] for each in sent] == [PICTURE, OTHER]
    assert [each["referenceType"] for each in sent] == ["style", "asset"]
    uses = await new.database.fetch("SELECT job, name FROM picture_use ORDER BY job, name")
    names = ["reference_images[0]", "reference_images[1]"]
    assert [row["name"] for row in uses if row["job"] == again.job_id] == names
    assert await new.database.run(violations) == []
    for each in (engine, rotated, new):
        await each.database.close()


METADATA = (
    '{"z":1.0,"a":1e22,"big":123456789012345678901234567890,"small":1e-7,"nested":{"y":-0.0,'
    '"x":[100000.0,2]},"é":"ü"}'
)


async def test_metadata_comes_back_as_it_was_given(make_engine: MakeEngine) -> None:
    engine = facing(make_engine(), answering(NotSent("nobody there")))
    metadata = json.loads(METADATA)
    request = VideoRequest.from_json({"prompt": "x", "metadata": metadata})
    accepted = await accept(engine, request, tenant="default")
    (shown,) = await engine.database.run(lambda on: read_jobs(on, [accepted.job_id]))
    view = job_view(shown, api_url="https://videos.test", vault=engine.vault)

    for each in (accepted.view, view):
        assert json.dumps(each["metadata"], ensure_ascii=False, separators=(",", ":")) == (
            json.dumps(metadata, ensure_ascii=False, separators=(",", ":"))
        )
    failed = {accepted.job_id: CANCELLED}
    await engine.database.run(
        lambda on: finish(engine, on, JobState.CANCELLED, list(failed), failures=failed)
    )
    again, _ = await retry(engine, accepted.job_id, tenant="default", caller=Caller())
    assert json.dumps(again.view["metadata"]) == json.dumps(metadata)
    await engine.database.close()
