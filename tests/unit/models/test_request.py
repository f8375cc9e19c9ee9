"""A request's pictures: their forms, their types, and errors that name what is wrong."""

from typing import Any

import pytest

from models.failure import RequestRefused
from models.request import VideoRequest
from models.scene import JobReference, Reference, Scene

LINK = "https://pictures.example.com/a.png"
#: As a message shows it: who knows a path may use it.
SHOWN = "https://pictures.example.com/…"
PICTURE = 'must be an http(s) URL, a base64 data:image/… URI or {"job_id": …}'


def request(references: object) -> VideoRequest:
    return VideoRequest.from_json({"prompt": "a cat", "reference_images": references})


@pytest.mark.parametrize(
    ("element", "reference"),
    [
        (LINK, (LINK, "asset")),
        ({"job_id": "j1"}, (JobReference(job_id="j1"), "asset")),
        ({"image": LINK}, (LINK, "asset")),
        ({"image": LINK, "type": "style"}, (LINK, "style")),
        ({"image": {"job_id": "j1"}, "type": "subject"}, (JobReference(job_id="j1"), "subject")),
    ],
)
def test_a_reference_is_a_picture_or_a_picture_with_a_type(
    element: object, reference: tuple[object, str]
) -> None:
    made = request([element])
    assert [(each.image, each.type) for each in made.reference_images] == [reference]
    # And it comes back from its sealed form
    assert Scene.from_json(made.scene().model_dump(mode="json")) == made.scene()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("x", "reference_images must be a list of pictures (it is 'x')"),
        (
            {"image": LINK},
            f"reference_images must be a list of pictures (it is { ({'image': SHOWN})!r})",
        ),
        ([3], f"reference_images[0] {PICTURE} (it is 3)"),
        ([LINK, "ftp://x"], f"reference_images[1] {PICTURE} (it is 'ftp://x')"),
        ([[LINK]], f"reference_images[0] {PICTURE} (it is ['{SHOWN}'])"),
        ([{}], "reference_images[0].job_id is required"),
        (
            [{"job_id": "j\x00"}],
            r"reference_images[0].job_id must not contain the NUL character (it is 'j\x00')",
        ),
        (
            ["https://x/\ud800"],
            r"reference_images[0] must not contain an unpaired surrogate (it is 'https://x/…')",
        ),
        ([{"type": "style"}], "reference_images[0].image is required"),
        ([{"image": "x"}], f"reference_images[0].image {PICTURE} (it is 'x')"),
        ([{"image": {"image": LINK}}], "reference_images[0].image.job_id is required"),
        (
            [{"image": {"job_id": 3}}],
            "reference_images[0].image.job_id should be a valid string (it is 3)",
        ),
        (
            [{"image": LINK, "type": "mood"}],
            "reference_images[0].type should be 'subject', 'style' or 'asset' (it is 'mood')",
        ),
        (
            [{"image": LINK, "type": None}],
            "reference_images[0].type should be 'subject', 'style' or 'asset' (it is None)",
        ),
        (
            [{"image": LINK, "weight": 1}],
            "reference_images[0].weight is not a known field; known: image, type",
        ),
        (
            [{"job_id": "j1", "type": "style"}],
            "reference_images[0].type is not a known field; known: job_id",
        ),
    ],
)
def test_a_wrong_reference_is_told_by_place_value_and_what_is_allowed(
    given: Any, message: str
) -> None:
    with pytest.raises(RequestRefused) as caught:
        request(given)
    assert caught.value.message == message
    assert caught.value.param == message.split(maxsplit=1)[0]


@pytest.mark.parametrize("name", ["image", "last_image"])
def test_a_frame_has_no_type(name: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        VideoRequest.from_json({"prompt": "a cat", name: {"image": LINK, "type": "asset"}})
    assert caught.value.param == f"{name}.job_id"


def test_pictures_are_replaced_under_their_types() -> None:
    scene = Scene[str](
        prompt="a cat",
        reference_images=(Reference[str](image="a"), Reference[str](image="b", type="style")),
    )
    replaced = scene.with_pictures(str.upper)
    assert [(each.image, each.type) for each in replaced.reference_images] == [
        ("A", "asset"),
        ("B", "style"),
    ]
    assert [name for name, _ in replaced.pictures()] == [f"reference_images[{at}]" for at in (0, 1)]
