"""Probing: real videos are measured, and whatever else came is told apart in words."""

import errno
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.base import BadVideo, NotAVideo, Truncated
from storage.facts import Probe
from storage.probe import probe

MakeVideo = Callable[..., Path]

FAST_START = {"movflags": "faststart"}
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov"}


def cut(video: Path, into: Path, *, keep: int) -> Path:
    into.write_bytes(video.read_bytes()[:keep])
    return into


@pytest.mark.parametrize(
    ("name", "codec", "movflags", "content_type"),
    [
        ("plain.mp4", "libx264", {}, "video/mp4"),
        ("fast.mp4", "libx264", FAST_START, "video/mp4"),
        ("fragmented.mp4", "libx264", FRAGMENTED, "video/mp4"),
        ("plain.mov", "libx264", {}, "video/quicktime"),
        ("plain.webm", "libvpx-vp9", {}, "video/webm"),
        ("plain.mkv", "libx264", {}, "video/x-matroska"),
    ],
)
def test_a_whole_video_is_measured(
    make_video: MakeVideo, name: str, codec: str, movflags: dict[str, str], content_type: str
) -> None:
    video = make_video(name, codec=codec, movflags=movflags)

    measured = probe(video)

    assert measured.duration_seconds == pytest.approx(1.5, abs=0.01)
    assert measured == Probe(
        content_type=content_type,
        duration_seconds=measured.duration_seconds,
        width=128,
        height=72,
        fps=24.0,
        frames=36,
    )


def test_sound_beside_the_picture_changes_none_of_its_measures(make_video: MakeVideo) -> None:
    silent, sounding = make_video("silent.mp4"), make_video("sounding.mp4", sound=True)

    assert probe(sounding) == probe(silent)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\n <!DOCTYPE html><html><body>This link has expired</body></html>", "an HTML page"),
        (b"<HTML><head>", "an HTML page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "an XML document"),
        (b'{"error":{"message":"expired","token":"abc"}}', "JSON"),
        (b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1/secret.ts\n", "text"),
        (b"\x00\x01\x02\xff" * 500, "unknown binary data"),
    ],
)
def test_what_is_no_video_is_refused_in_words_that_quote_nothing(
    tmp_path: Path, content: bytes, words: str
) -> None:
    file = tmp_path / "output.mp4"
    file.write_bytes(content)

    with pytest.raises(NotAVideo, match=words) as refused:
        probe(file)

    assert "abc" not in str(refused.value)
    assert "expired" not in str(refused.value)


@pytest.mark.parametrize("movflags", [{}, FAST_START], ids=["moov last", "moov first"])
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(share=st.floats(min_value=0, max_value=1, exclude_max=True))
def test_an_mp4_that_is_cut_off_anywhere_is_never_taken_for_whole(
    make_video_once: Callable[[dict[str, str]], Path],
    tmp_path: Path,
    movflags: dict[str, str],
    share: float,
) -> None:
    video = make_video_once(movflags)
    keep = int(video.stat().st_size * share)

    with pytest.raises(BadVideo) as refused:
        probe(cut(video, tmp_path / "cut.mp4", keep=keep))

    assert isinstance(refused.value, Truncated) or keep < 12


@pytest.mark.parametrize("missing", [1, 1000])
def test_the_last_byte_counts(make_video: MakeVideo, tmp_path: Path, missing: int) -> None:
    video = make_video("sounding.mp4", movflags=FAST_START, sound=True)

    with pytest.raises(Truncated, match="in the middle of a box"):
        probe(cut(video, tmp_path / "cut.mp4", keep=video.stat().st_size - missing))


@pytest.mark.parametrize(
    ("name", "codec", "movflags"),
    [
        ("cut.mp4", "libx264", FRAGMENTED),
        ("cut.webm", "libvpx-vp9", {}),
        ("cut.mkv", "libx264", {}),
    ],
)
def test_other_kinds_that_lost_their_second_half_are_cut_off_too(
    make_video: MakeVideo, tmp_path: Path, name: str, codec: str, movflags: dict[str, str]
) -> None:
    video = make_video(f"whole-{name}", codec=codec, movflags=movflags, frames=60)

    with pytest.raises(Truncated, match="cut off"):
        probe(cut(video, tmp_path / name, keep=video.stat().st_size // 2))


def test_an_mp4_that_ends_where_its_index_should_begin_is_cut_off(
    make_video: MakeVideo, tmp_path: Path
) -> None:
    video = make_video("indexed.mp4")
    index = video.read_bytes().index(b"moov") - 4

    with pytest.raises(Truncated, match=r"index \(moov\) is missing"):
        probe(cut(video, tmp_path / "cut.mp4", keep=index))


@pytest.mark.parametrize(
    ("bytes_more", "words"), [(0, "10 of 36 frames"), (100, "cut off after 10 frames")]
)
def test_frames_beyond_the_end_are_missed_even_where_all_parts_end_in_time(
    make_video: MakeVideo, tmp_path: Path, bytes_more: int, words: str
) -> None:
    # Given a video whose body was shortened after ten frames, and says so itself
    video = make_video("frames.mp4", movflags=FAST_START)
    with av.open(str(video)) as container:
        ends = sorted((packet.pos or 0) + packet.size for packet in container.demux())
    content = bytearray(video.read_bytes()[: ends[len(ends) - 36 + 9] + bytes_more])
    body = content.index(b"mdat") - 4
    content[body : body + 4] = (len(content) - body).to_bytes(4)
    file = tmp_path / "shortened.mp4"
    file.write_bytes(content)

    # When it is probed, then the index still promises all of them
    with pytest.raises(Truncated, match=words):
        probe(file)


def test_a_file_of_the_right_length_whose_picture_is_garbage_is_no_video(
    make_video: MakeVideo, tmp_path: Path
) -> None:
    video = make_video("garbage.mp4", movflags=FAST_START).read_bytes()
    body = video.index(b"mdat") + 4
    file = tmp_path / "garbage.mp4"
    file.write_bytes(video[:body] + b"\xff" * (len(video) - body))

    with pytest.raises(NotAVideo, match="can't be"):
        probe(file)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    file = tmp_path / "sound.mp4"
    with av.open(str(file), "w") as container:
        stream = container.add_stream("aac", rate=48_000)
        frame = av.AudioFrame("fltp", "mono", 48_000)
        frame.sample_rate = 48_000
        frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        container.mux(stream.encode(frame))
        container.mux(stream.encode())

    with pytest.raises(NotAVideo, match="no video stream"):
        probe(file)


def test_parts_without_end_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "parts.mp4"
    file.write_bytes(b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x08free" * 100_001)

    with pytest.raises(NotAVideo, match="more than 100,000 boxes"):
        probe(file)


def test_trouble_with_our_own_disk_is_not_the_videos_fault(
    make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise av.error.PermissionError(errno.EACCES, "Permission denied")

    video = make_video("unreadable.mp4")
    monkeypatch.setattr(av, "open", fail)

    with pytest.raises(PermissionError):
        probe(video)
