"""How dialects spell a job's id; each spelling can be read back, without a table.

A job that was submitted over HTTP has the id `job_vid_` and 26 characters of base 32: 48 bits of
milliseconds, then 80 random bits. Ids of another form (given over the broker) have no spelling in
some dialects; these never show such a job.
"""

import re
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from models.failure import not_found

JOB: Final = "job_vid_"
_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_OWN: Final = re.compile(f"[0-7][{_ALPHABET}]{{25}}")
_RANDOM_BITS: Final = 80
#: 16 characters of base 32.
_TAIL: Final = 16


class Spelling(Protocol):
    """One way to write a job's id."""

    def of(self, job_id: str) -> str:
        """The spelling of a job's id; raises RequestRefused (`not_found`) if it has none."""
        ...

    def job(self, spelled: str) -> str:
        """The job's id; raises RequestRefused (`not_found`) if nothing is spelled so."""
        ...


@dataclass(frozen=True, slots=True)
class Prefixed:
    """`job_vid_…` with another prefix, as in `run_…`; other ids of jobs follow it whole."""

    prefix: str

    def of(self, job_id: str) -> str:
        return self.prefix + job_id.removeprefix(JOB)

    def job(self, spelled: str) -> str:
        if not spelled.startswith(self.prefix):
            raise not_found()
        return JOB + spelled.removeprefix(self.prefix)


@dataclass(frozen=True, slots=True)
class PrefixedOrWhole:
    """`job_vid_…` with another prefix, as in `video_…`; other ids of jobs stay as they are."""

    prefix: str

    def of(self, job_id: str) -> str:
        code = job_id.removeprefix(JOB)
        return self.prefix + code if code != job_id and _OWN.fullmatch(code) else job_id

    def job(self, spelled: str) -> str:
        code = spelled.removeprefix(self.prefix)
        return JOB + code if code != spelled and _OWN.fullmatch(code) else spelled


@dataclass(frozen=True, slots=True)
class AsUuid:
    """The id's 128 bits as a UUID."""

    def of(self, job_id: str) -> str:
        return str(UUID(int=number_of(job_id)))

    def job(self, spelled: str) -> str:
        try:
            return _job(UUID(spelled).int)
        except ValueError:
            raise not_found() from None


@dataclass(frozen=True, slots=True)
class Timed:
    """`prefix:{random part}:{milliseconds since 1970}`, as in `video-op:k3…:1703123456789`."""

    prefix: str

    def of(self, job_id: str) -> str:
        return f"{self.prefix}:{_own(job_id)[-_TAIL:]}:{number_of(job_id) >> _RANDOM_BITS}"

    def job(self, spelled: str) -> str:
        match spelled.split(":"):
            case [self.prefix, tail, digits] if _is_timed(tail, digits):
                return JOB + _text(int(digits), 10) + tail
            case _:
                raise not_found()


def milliseconds_of(job_id: str) -> int:
    """When the id was made, in milliseconds since 1970; raises RequestRefused (`not_found`)."""
    return number_of(job_id) >> _RANDOM_BITS


def number_of(job_id: str) -> int:
    """The id's 128 bits as a number; raises RequestRefused (`not_found`)."""
    number = 0
    for character in _own(job_id):
        number = number << 5 | _ALPHABET.index(character)
    return number


def _own(job_id: str) -> str:
    code = job_id.removeprefix(JOB)
    if code == job_id or not _OWN.fullmatch(code):
        raise not_found()
    return code


def _job(number: int) -> str:
    return JOB + _text(number, 26)


def _text(number: int, length: int) -> str:
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(5 * length - 5, -1, -5))


def _is_timed(tail: str, digits: str) -> bool:
    is_tail = len(tail) == _TAIL and set(tail) <= set(_ALPHABET)
    return is_tail and re.fullmatch(r"[0-9]{1,15}", digits) is not None and int(digits) < 2**48
