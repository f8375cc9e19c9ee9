"""What dialects have in common: ids that round-trip, total tables of words, lenient fields."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send

from api.dialects import aimlapi, lunos, openai_videos, perf
from api.dialects.fields import Fields
from api.dialects.ids import (
    AsUuid,
    Prefixed,
    PrefixedOrWhole,
    Spelling,
    Timed,
    milliseconds_of,
    number_of,
)
from api.dialects.words import STATUSES, StatusWords
from api.slashes import SingleSlashes
from models.failure import RequestRefused
from models.ids import new_id
from models.state import PUBLIC_STATUS, JobState

pytestmark = pytest.mark.anyio
SPELLINGS: list[Spelling] = [Prefixed("run_"), Prefixed("job_vid_"), AsUuid(), Timed("video-op")]


@pytest.mark.parametrize("spelling", SPELLINGS, ids=str)
def test_an_id_is_spelled_and_read_back(spelling: Spelling) -> None:
    for _ in range(50):
        job = new_id("job_vid")
        spelled = spelling.of(job)
        assert spelling.job(spelled) == job


def test_the_spellings_are_those_of_the_documents() -> None:
    job = "job_vid_01kagw2r5v9m3c8n1x4z7b6t0q"
    assert Prefixed("run_").of(job) == "run_01kagw2r5v9m3c8n1x4z7b6t0q"
    assert AsUuid().of(job) == "019aa1c1-60bb-4d06-c454-3d27ceb36817"
    assert Timed("video-op").of(job) == f"video-op:9m3c8n1x4z7b6t0q:{milliseconds_of(job)}"
    assert 1_763_000_000_000 < milliseconds_of(job) < 1_764_000_000_000


@pytest.mark.parametrize("spelling", [AsUuid(), Timed("video-op")], ids=str)
@pytest.mark.parametrize("job", ["job_vid_" + "a" * 32, "mine", "job_vid_zz", ""])
def test_an_id_of_another_form_has_no_spelling(spelling: Spelling, job: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        spelling.of(job)
    assert refused.value.type == "not_found"


@pytest.mark.parametrize("job", ["order-1042", "job_vid_zz", "video_7", "", "job_vid_" + "a" * 32])
def test_an_id_of_another_form_may_stay_as_it_is(job: str) -> None:
    spelling = PrefixedOrWhole("video_")
    assert spelling.of(job) == job
    assert spelling.job(job) == job
    assert spelling.of("job_vid_01kagw2r5v9m3c8n1x4z7b6t0q") == "video_01kagw2r5v9m3c8n1x4z7b6t0q"
    assert spelling.job("video_01kagw2r5v9m3c8n1x4z7b6t0q") == "job_vid_01kagw2r5v9m3c8n1x4z7b6t0q"


def test_the_number_of_an_id_is_its_own() -> None:
    numbers = {number_of(new_id("job_vid")) for _ in range(50)}
    assert len(numbers) == 50
    assert all(0 < number < 2**128 for number in numbers)


@given(spelling=st.sampled_from(SPELLINGS), text=st.text(max_size=60))
def test_what_is_no_id_is_not_found_and_never_an_error(spelling: Spelling, text: str) -> None:
    for spelled in (text, f"video-op:{text}", f"run_{text}", f"video-op:{'0' * 16}:{text}"):
        try:
            found = spelling.job(spelled)
        except RequestRefused as refusal:
            found = refusal.type
        assert found == "not_found" or found.startswith("job_vid_")


@pytest.mark.parametrize("words", [perf.WORDS, lunos.WORDS, aimlapi.WORDS, openai_videos.WORDS])
def test_every_state_has_a_word(words: StatusWords) -> None:
    for state in JobState:
        assert words.of(state) == words.of(PUBLIC_STATUS[state])
    assert words.of("a state of a newer version") == words.of("processing")


def test_a_table_of_words_that_is_not_total_is_refused() -> None:
    whole = dict.fromkeys(STATUSES, "x")
    StatusWords(whole)
    for wrong in (whole | {"paused": "x"}, {key: "x" for key in whole if key != "cancelled"}):
        with pytest.raises(ValueError, match="one word for each public status"):
            StatusWords(wrong)


@pytest.mark.parametrize(
    ("reader", "value", "says"),
    [
        ("required_text", None, "field is required"),
        ("required_text", "  ", "field is required"),
        ("required_text", 7, "field is required"),
        ("text", 7, "field must be a string (it is 7)"),
        ("number", "8", "field must be a number (it is '8')"),
        ("number", True, "field must be a number (it is True)"),
        ("positive", 0, "field must be a positive number (it is 0)"),
        ("flag", "yes", "field must be true or false (it is 'yes')"),
        ("inner", [], "field must be an object (it is [])"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(reader: str, value: Any, says: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        getattr(Fields({"field": value}), reader)("field")
    assert refused.value.message == says
    assert refused.value.param == "field"


def test_null_is_a_field_that_is_not_set_and_paths_name_inner_fields() -> None:
    fields = Fields({"a": None, "data": {"size": 7, "n": 3.0, "most": 2**40, "long": "x" * 99}})
    assert (fields.text("a"), fields.number("a"), fields.flag("b")) == (None, None, None)
    inner = fields.inner("data")
    assert inner is not None
    assert inner.whole("n", least=1, most=3) == 3
    for refuse in (
        lambda: inner.one_of("size", ("s",)),
        lambda: inner.whole("most", least=1, most=3),
        lambda: inner.one_of("long", ("s", "m")),
    ):
        with pytest.raises(RequestRefused, match=r"^data\.") as refused:
            refuse()
        assert len(refused.value.message) < 130


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/perf//v1//video", "/perf/v1/video"),
        ("//perf/v1", "/perf/v1"),
        ("/perf/v1/", "/perf/v1/"),
        ("//perfect/v1", "//perfect/v1"),
        ("/v1//video/generations", "/v1//video/generations"),
    ],
)
async def test_double_slashes_are_one_below_a_dialects_prefix_only(path: str, seen: str) -> None:
    paths = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        paths.append((scope["path"], scope["raw_path"]))

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    scope = {"type": "http", "path": path, "raw_path": path.encode()}
    await SingleSlashes(app, prefixes=["/perf"])(scope, receive, send)

    assert paths == [(seen, seen.encode())]
