"""Pictures: an earlier job's last frame, and links fetched for providers that take none."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from catalog.resolve import resolve
from models.failure import RequestRefused
from models.request import VideoRequest
from models.scene import JobReference, Picture, Reference, Scene
from models.verbs import What
from providers.base import Ask
from storage.base import video_key
from tasks.engine import Engine
from tasks.intake import accept
from tasks.pictures import BadPicture, PictureTrouble, check_references, inline
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tests.integration.conftest import MakeEngine
from tests.integration.engine.far_side import FarSide, facing, video
from transport.base import Blocked, NotSent, Request, Response

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n and so on"
LINK = "https://pictures.example.com/a.png?signature=secret"


def ask(**pictures: Any) -> Ask:
    return Ask(
        attempt_id="att_1",
        marker="m",
        upstream="veo",
        scene=Scene(prompt="a cat", **pictures),
        duration_seconds=4,
        resolution="720p",
        aspect_ratio="16:9",
        width=1280,
        height=720,
    )


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


async def test_a_link_is_fetched_for_a_provider_that_takes_none(make_engine: MakeEngine) -> None:
    answer = Response(status=200, headers={"content-type": "image/png"}, content=PNG)
    engine = facing(make_engine(), answering(answer))

    whole = await inline(
        engine, ask(image=LINK, reference_images=(LINK, "data:image/png;base64,AA"))
    )

    assert whole.scene.image is not None
    assert whole.scene.image.startswith("data:image/png;base64,iVBORw0K")
    assert [each.image for each in whole.scene.reference_images] == [
        whole.scene.image,
        "data:image/png;base64,AA",
    ]


@pytest.mark.parametrize(
    "answer",
    [
        Response(status=404, headers={"content-type": "image/png"}, content=b""),
        Response(status=200, headers={"content-type": "text/html"}, content=b"<html>"),
        Blocked("the address is not public"),
    ],
    ids=["gone", "a page", "private"],
)
async def test_a_link_that_gives_no_picture_is_a_refusal_without_its_query(
    make_engine: MakeEngine, answer: Response | Exception
) -> None:
    with pytest.raises(BadPicture) as caught:
        await inline(facing(make_engine(), answering(answer)), ask(image=LINK))

    assert "secret" not in caught.value.failure.message


async def test_a_link_that_does_not_answer_is_tried_again_later(make_engine: MakeEngine) -> None:
    with pytest.raises(PictureTrouble):
        await inline(facing(make_engine(), answering(NotSent("refused"))), ask(image=LINK))
