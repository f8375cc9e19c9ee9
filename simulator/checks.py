"""Checks of request fields that several vendors share."""

from collections.abc import Callable
from typing import Final, TypeGuard

_SEEDS: Final = range(2**32)


def is_text(value: object) -> bool:
    return isinstance(value, str)


def is_flag(value: object) -> bool:
    return isinstance(value, bool)


def is_whole(value: object) -> TypeGuard[int]:
    """Whether it is an integer, which True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_seed(value: object) -> TypeGuard[int]:
    return is_whole(value) and value in _SEEDS


def is_one_of(*allowed: object) -> Callable[[object], bool]:
    """A check for one of these values, of the same type."""
    return lambda value: any(value == one and type(value) is type(one) for one in allowed)


def at_most(characters: int) -> Callable[[object], bool]:
    """A check for a text of so many characters."""
    return lambda value: isinstance(value, str) and len(value) <= characters
