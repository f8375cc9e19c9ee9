"""Pictures in data URIs: of which types they may be, and whether one is a picture at all.

A look at the first bytes and the alphabet finds what no provider could read; a picture whose type
is another one than its URI says is left to the provider, since most read it.
"""

import binascii
from typing import Final

#: Types of pictures that some provider takes, as a data URI names them.
TYPES: Final = (
    *("image/jpeg", "image/jpg", "image/png", "image/webp", "image/gif", "image/bmp"),
    *("image/tiff", "image/avif", "image/heic", "image/heif"),
)
#: The first bytes of each type but those in ISO base media files.
_MAGIC: Final = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
)
#: The brands of pictures in ISO base media files (ISO 23008-12, AVIF 1.1).
_BRANDS: Final = {
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"heim", b"heis"), "image/heic"),
    **dict.fromkeys((b"mif1", b"msf1"), "image/heif"),
}
#: Characters that are decoded at a time: a picture may have 20 MB. A multiple of four.
_PIECE: Final = 2**18
#: Characters that hold all first bytes that are looked at.
_HEAD: Final = 16


def picture_type(head: bytes) -> str | None:
    """The type of a picture by its first 12 bytes; None for what is no picture."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12])
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)


def check_picture(uri: str) -> None:
    """Raise ValueError, saying what is allowed, for a data URI that holds no picture."""
    head, _, content = uri.partition(";base64,")
    kind = head.removeprefix("data:").partition(";")[0].lower()
    if kind not in TYPES:
        msg = f"must be a data URI of one of the types {', '.join(TYPES)} (it is {kind[:64]!r})"
        raise ValueError(msg)
    if not is_base64(content):
        msg = (
            "must be a data URI whose content is base64: letters, digits, + and /, padded with =, "
            "without line breaks"
        )
        raise ValueError(msg)
    if picture_type(binascii.a2b_base64(content[:_HEAD])) is None:
        msg = (
            "must be a data URI whose content is a picture: its first bytes are of none of the "
            f"types {', '.join(TYPES)}"
        )
        raise ValueError(msg)


def is_base64(text: str) -> bool:
    """Whether it is strict base64 of at least one byte; decoded piece by piece."""
    padding = text.find("=")
    if not text or 0 <= padding < len(text) - 2:
        return False
    try:
        for begin in range(0, len(text), _PIECE):
            binascii.a2b_base64(text[begin : begin + _PIECE], strict_mode=True)
    except ValueError:  # also of characters beyond ASCII
        return False
    return True
