"""The words of a dialect for the public statuses: a wrong one makes its clients poll forever."""

from collections.abc import Mapping
from typing import Final

from models.state import PUBLIC_STATUS, public_status

#: Every public status.
STATUSES: Final = frozenset(PUBLIC_STATUS.values())


class StatusWords:
    """A total table from public status to the dialect's word."""

    def __init__(self, words: Mapping[str, str]) -> None:
        """Raises ValueError if a public status has no word, or a word no status."""
        if words.keys() != STATUSES:
            wrong = ", ".join(sorted(words.keys() ^ STATUSES))
            msg = f"a dialect needs one word for each public status (wrong: {wrong})"
            raise ValueError(msg)
        self._words = dict(words)

    def of(self, state: str) -> str:
        """The word for a job's state, or for its public status."""
        return self._words[state if state in STATUSES else public_status(state)]
