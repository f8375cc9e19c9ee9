import asyncio
import io
import threading
from dataclasses import replace

import av
import pytest

from simulator.slate import HUES, Slate
from simulator.video import TINY_BYTES, Clip, Studio, encode, hue_of, stamped

SMALL = Clip(width=320, height=180, seconds=2, fps=24)
BOAT = Slate("A boat on a lake at dawn", "gen4.5", "runway", seed=7)
ONE = bytes(range(16))
OTHER = bytes(range(16, 32))


def film(clip: Clip, fingerprint: bytes, *, slate: Slate = BOAT, tiny: bool = False) -> bytes:
    studio = Studio(tiny=tiny)
    try:
        return asyncio.run(studio.film(clip, fingerprint, slate))
    finally:
        studio.close()


def stills(video: bytes) -> list[bytes]:
    """The brightness of each frame's pixels."""
    with av.open(io.BytesIO(video), "r") as container:
        return [bytes(frame.planes[0]) for frame in container.decode(video=0)]


def colour(video: bytes) -> tuple[int, int]:
    """The chroma of the first frame's first pixel."""
    with av.open(io.BytesIO(video), "r") as container:
        frame = next(container.decode(video=0))
        _, u, v = (memoryview(plane)[0] for plane in frame.planes)
    return u, v


@pytest.mark.parametrize(
    "clip",
    [
        SMALL,
        Clip(180, 320, 1),
        Clip(320, 180, 1, fps=30),
        Clip.shaped("21:9", short_side=180, seconds=1),
    ],
)
def test_a_film_plays_with_the_asked_size_length_and_rate(clip: Clip) -> None:
    with av.open(io.BytesIO(film(clip, ONE)), "r") as container:
        (stream,) = container.streams.video
        frames = len(list(container.decode(stream)))
        length = container.duration

    assert (stream.width, stream.height) == (clip.width, clip.height)
    assert stream.average_rate == clip.fps
    assert frames == clip.frames
    assert length == clip.seconds * 1_000_000


def test_the_same_fingerprint_gives_the_same_bytes_and_another_does_not() -> None:
    assert film(SMALL, ONE) == film(SMALL, ONE)
    assert film(SMALL, ONE) != film(SMALL, OTHER)


def test_films_of_one_picture_still_differ_in_their_bytes() -> None:
    twin = ONE[:4] + OTHER[4:]
    assert hue_of(twin) == hue_of(ONE)

    assert film(SMALL, twin) != film(SMALL, ONE)


def test_each_hue_looks_different() -> None:
    seen = {colour(encode(Clip(64, 64, 1), BOAT, hue)) for hue in range(HUES)}

    assert len(seen) > HUES // 2


@pytest.mark.parametrize(
    "other",
    [
        replace(BOAT, prompt="A boat on a lake at dusk"),
        replace(BOAT, model="gen4"),
        replace(BOAT, provider="luma"),
        replace(BOAT, seed=8),
        replace(BOAT, seed=None),
    ],
)
def test_a_slate_shows_what_the_clip_was_made_of(other: Slate) -> None:
    ours, theirs = (stills(encode(SMALL, slate, 0)) for slate in (BOAT, other))

    assert ours[0] != theirs[0]


def test_the_running_time_and_the_bar_move() -> None:
    frames = stills(encode(SMALL, BOAT, 0))
    foot = [frame[-SMALL.width :].count(max(frames[-1][-SMALL.width :])) for frame in frames]

    assert len(set(frames)) > SMALL.seconds * 9  # ten a second
    assert foot[0] < foot[len(foot) // 2] < foot[-1]


@pytest.mark.parametrize(
    "prompt", ["", " ", "word " * 4000, "x" * 4000, "Ein Boot, 一艘小船, 🚣\0\n"]
)
def test_every_prompt_can_be_drawn(prompt: str) -> None:
    for clip in (Clip(64, 64, 1, fps=2), Clip(2, 2, 1, fps=2), Clip(360, 640, 1, fps=2)):
        assert len(stills(encode(clip, Slate(prompt, "m" * 300, "p" * 300), 0))) == 2


def test_a_tiny_film_has_one_size_whatever_was_asked_and_still_plays() -> None:
    tiny = film(Clip(1920, 1080, 10), ONE, tiny=True)

    assert len(tiny) == TINY_BYTES
    with av.open(io.BytesIO(tiny), "r") as container:
        assert len(list(container.decode(video=0))) == 24


def test_a_stamp_is_an_mp4_box_of_the_right_length() -> None:
    assert stamped(b"film", b"mark") == b"film" + (12).to_bytes(4) + b"free" + b"mark"


def test_a_shape_keeps_its_ratio_and_even_sides() -> None:
    assert Clip.shaped("16:9", short_side=720, seconds=5) == Clip(1280, 720, 5)
    assert Clip.shaped("9:16", short_side=1080, seconds=5) == Clip(1080, 1920, 5)
    assert Clip.shaped("21:9", short_side=540, seconds=5) == Clip(1260, 540, 5)
    assert Clip.shaped("1112:834", short_side=834, seconds=5) == Clip(1112, 834, 5)


def test_many_viewers_of_one_clip_wait_for_one_film(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given an encoder that counts
    filmed: list[Slate] = []
    lock = threading.Lock()

    def counting(clip: Clip, slate: Slate, hue: int) -> bytes:
        with lock:
            filmed.append(slate)
        return encode(clip, slate, hue)

    monkeypatch.setattr("simulator.video.encode", counting)

    # When a hundred viewers ask at once, and one of them leaves
    async def watch() -> None:
        studio = Studio()
        viewers = [asyncio.create_task(studio.film(SMALL, ONE, BOAT)) for _ in range(100)]
        await asyncio.sleep(0)
        viewers[0].cancel()
        films = await asyncio.gather(*viewers[1:])
        studio.close()
        assert len(set(films)) == 1

    asyncio.run(watch())

    # Then the clip was encoded once
    assert len(filmed) == 1
