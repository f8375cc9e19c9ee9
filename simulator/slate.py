"""Draws the slate that a simulated clip shows: who made it, from what, and how far it has run."""

import colorsys
import itertools
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import av
from PIL import Image, ImageDraw, ImageFont

#: Backgrounds: outputs of one job have different ones too.
HUES: Final = 24

# Lengths in hundredths of the short side.
_MARGIN: Final = 6.0
_SMALL, _MEDIUM, _LARGE = 4.0, 5.0, 7.5
_LEADING: Final = 1.35
_BAR: Final = 1.6
#: Where the prompt begins, and ends at the latest, as shares of the height.
_PROMPT_FROM, _PROMPT_TO = 0.32, 0.80
#: The smallest legible text, in pixels.
_LEAST: Final = 8.0
#: The running time changes ten times a second: each change costs the encoder bits.
_TENTHS: Final = 10
_WHITE: Final = (255, 255, 255)
#: Brightness of the part of the bar that has run, of 16 to 235.
_BAR_LUMA: Final = 225

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class Slate:
    """What is written on a clip."""

    prompt: str
    model: str
    provider: str
    #: None: the request named none.
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class _Page:
    """The size of a clip, and the lengths that follow from it, in pixels."""

    width: int
    height: int

    def length(self, hundredths: float) -> float:
        return hundredths * min(self.width, self.height) / 100

    @property
    def margin(self) -> float:
        return self.length(_MARGIN)

    def font(self, hundredths: float) -> Font:
        return _font(max(_LEAST, self.length(hundredths)))


@lru_cache(maxsize=64)
def _font(size: float) -> Font:
    """Pillow's own font: no machine has to have one."""
    return ImageFont.load_default(size=size)


def frames(
    slate: Slate, *, width: int, height: int, seconds: int, fps: int, hue: int
) -> Iterator[av.VideoFrame]:
    """The clip's frames: one frame, redrawn in place, since the encoder copies it.

    The picture is drawn once; then only the bar at its foot and the running time change.
    """
    page = _Page(width, height)
    picture = _draw(page, slate, fps=fps, hue=hue)
    drawn: av.VideoFrame = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]
    frame = drawn.reformat(format="yuv420p")
    luma, stride = memoryview(frame.planes[0]), frame.planes[0].line_size
    clock = _Clock(page, picture, seconds=seconds)
    bar = max(2, round(page.length(_BAR)))
    count = seconds * fps
    for number in range(count):
        run = bytes([_BAR_LUMA]) * (width * (number + 1) // count)
        for row in range(height - bar, height):
            luma[row * stride : row * stride + len(run)] = run
        clock.show(luma, stride, tenth=number * _TENTHS // fps)
        frame.pts = number
        yield frame


class _Clock:
    """The running time at the lower right, written into a frame's brightness alone."""

    def __init__(self, page: _Page, picture: Image.Image, *, seconds: int) -> None:
        self._seconds = seconds
        self._font = page.font(_SMALL)
        _, _, right, bottom = self._font.getbbox(self._text(seconds * _TENTHS))
        self._width = min(page.width, int(right) + 4)
        self._x = max(0, int(page.width - page.margin) - self._width)
        self._y = max(0, int(page.height - page.margin - page.length(_SMALL)))
        self._height = min(page.height - self._y, int(bottom) + 2)
        box = (self._x, self._y, self._x + self._width, self._y + self._height)
        # A video's brightness goes from 16 to 235 (ITU-R BT.601), a picture's from 0 to 255.
        self._ground = picture.crop(box).convert("L").point(lambda level: 16 + level * 219 // 255)
        self._shown = -1

    def _text(self, tenth: int) -> str:
        return f"{tenth // _TENTHS}.{tenth % _TENTHS} / {self._seconds} s"

    def show(self, luma: memoryview, stride: int, *, tenth: int) -> None:
        if tenth == self._shown:
            return
        self._shown = tenth
        tile = self._ground.copy()
        text, edge = self._text(tenth), (self._width - 2, 0)
        ImageDraw.Draw(tile).text(edge, text, font=self._font, fill=235, anchor="ra")
        pixels = tile.tobytes()
        for row in range(self._height):
            start = (self._y + row) * stride + self._x
            luma[start : start + self._width] = pixels[row * self._width : (row + 1) * self._width]


def _draw(page: _Page, slate: Slate, *, fps: int, hue: int) -> Image.Image:
    picture = _background(page, hue)
    draw = ImageDraw.Draw(picture)
    light = _colour(hue, lightness=0.78, saturation=0.75)
    margin = page.margin
    draw.text((margin, margin), _legible(slate.provider), font=page.font(_SMALL), fill=light)
    below = margin + page.length(_SMALL * _LEADING)
    draw.text((margin, below), _legible(slate.model), font=page.font(_MEDIUM), fill=_WHITE)
    font, leading = page.font(_LARGE), page.length(_LARGE) * _LEADING
    top, most = page.height * _PROMPT_FROM, page.height * _PROMPT_TO
    lines = _wrapped(draw, slate.prompt, font, width=page.width - 2 * margin)
    for number, line in enumerate(_cut(lines, max(1, int((most - top) / leading)))):
        draw.text((margin, top + number * leading), line, font=font, fill=_WHITE)
    foot = page.height - margin - page.length(_SMALL)
    draw.text((margin, foot), _facts(page, slate, fps), font=page.font(_SMALL), fill=light)
    return picture


def _facts(page: _Page, slate: Slate, fps: int) -> str:
    facts = [f"{page.width} x {page.height}", f"{fps} fps"]
    if slate.seed is not None:
        facts += [f"seed {slate.seed}"]
    return "   ".join(facts)


def _background(page: _Page, hue: int) -> Image.Image:
    """From the hue at the top to a darker neighbour at the foot."""
    size = (page.width, page.height)
    top = Image.new("RGB", size, _colour(hue, lightness=0.30, saturation=0.55))
    foot = Image.new("RGB", size, _colour(hue + 2, lightness=0.10, saturation=0.60))
    return Image.composite(foot, top, Image.linear_gradient("L").resize(size))


def _colour(hue: int, *, lightness: float, saturation: float) -> Colour:
    parts = colorsys.hls_to_rgb((hue % HUES) / HUES, lightness, saturation)
    red, green, blue = (round(255 * part) for part in parts)
    return red, green, blue


def _wrapped(draw: ImageDraw.ImageDraw, text: str, font: Font, *, width: float) -> Iterator[str]:
    """The text in lines of at most `width` pixels; a word that is longer is broken."""
    line = ""
    for word in _legible(text[:1000]).split():
        rest = word
        while rest:
            tried = f"{line} {rest}".strip()
            if draw.textlength(tried, font=font) <= width:
                line, rest = tried, ""
            elif line:
                yield line
                line = ""
            else:
                fits = max(1, int(len(rest) * width / draw.textlength(rest, font=font)))
                yield rest[:fits]
                rest = rest[fits:]
    if line:
        yield line


def _cut(lines: Iterator[str], most: int) -> list[str]:
    kept = list(itertools.islice(lines, most + 1))
    return kept if len(kept) <= most else [*kept[: most - 1], f"{kept[most - 1]} …"]


def _legible(text: str) -> str:
    """The text in the font's letters, which are ASCII's: without accents, others as `?`."""
    letters = (
        each for each in unicodedata.normalize("NFKD", text) if not unicodedata.combining(each)
    )
    plain = "".join(letters).encode("ascii", "replace").decode("ascii")
    return "".join(each if each.isprintable() else " " for each in plain)
