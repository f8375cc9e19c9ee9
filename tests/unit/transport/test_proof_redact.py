"""Redaction takes time linear in a prompt: `a-a-a-…` of 20 kB held a submit worker for seconds."""

import re

import pytest

from models.address import ADDRESS
from tests.unit.backtracking import growth
from transport import redact

PATTERNS = [ADDRESS, *redact._SECRETS]  # noqa: SLF001 - each is judged alone


@pytest.mark.parametrize("pattern", PATTERNS, ids=["url", "credentials", "named", "prefixes"])
def test_redaction_takes_steps_linear_in_its_text(pattern: re.Pattern[str]) -> None:
    worst, pump = growth(pattern.pattern, pattern.flags & ~re.UNICODE)

    assert worst <= 5, f"{pattern.pattern!r} on {pump!r}, many times"
