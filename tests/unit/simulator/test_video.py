import asyncio
import io
import threading

import av
import pytest

from simulator.video import TINY_BYTES, Clip, Studio, encode, stamped, variant_of

SMALL = Clip(width=320, height=180, seconds=2, fps=24)
ONE = bytes(range(16))
OTHER = bytes(range(16, 32))


def film(clip: Clip, fingerprint: bytes, *, tiny: bool = False) -> bytes:
    studio = Studio(tiny=tiny)
    try:
        return asyncio.run(studio.film(clip, fingerprint))
    finally:
        studio.close()


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


def test_films_of_one_variant_still_differ_in_their_bytes() -> None:
    twin = ONE[:4] + OTHER[4:]
    assert variant_of(twin) == variant_of(ONE)

    assert film(SMALL, twin) != film(SMALL, ONE)


def test_films_of_different_variants_look_different() -> None:
    seen = {colour(encode(Clip(64, 64, 1), variant)) for variant in (0, 12, 24, 36)}

    assert len(seen) == 4


def test_the_square_moves() -> None:
    with av.open(io.BytesIO(encode(SMALL, 0)), "r") as container:
        frames = [bytes(frame.planes[0]) for frame in container.decode(video=0)]

    assert frames[0] != frames[-1]


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
    filmed: list[int] = []
    lock = threading.Lock()

    def counting(clip: Clip, variant: int) -> bytes:
        with lock:
            filmed.append(variant)
        return encode(clip, variant)

    monkeypatch.setattr("simulator.video.encode", counting)

    # When a hundred viewers ask at once, and one of them leaves
    async def watch() -> None:
        studio = Studio()
        viewers = [asyncio.create_task(studio.film(SMALL, ONE)) for _ in range(100)]
        await asyncio.sleep(0)
        viewers[0].cancel()
        films = await asyncio.gather(*viewers[1:])
        studio.close()
        assert len(set(films)) == 1

    asyncio.run(watch())

    # Then the clip was encoded once
    assert len(filmed) == 1
