"""Each setting is documented, and no former name is silently ignored."""

import re
from pathlib import Path

import pytest

from settings import Settings, SettingsError, load

PAGE = Path(__file__).parents[2] / "docs/settings.md"
#: Fields that no operator sets: one for fault tests, and those that `load` computes.
OURS = {"crash_at", "other_variables", "vendor"}


def test_the_page_of_settings_has_every_setting_and_no_other() -> None:
    named = set(re.findall(r"LONGTAKE_[A-Z_]+", PAGE.read_text()))

    known = {f"LONGTAKE_{name.upper()}" for name in Settings.model_fields.keys() - OURS}
    assert named - {"LONGTAKE_SECRET_KEYS_FILE"} == known


@pytest.mark.parametrize("end", ["", "_FILE"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LONGTAKE_CONNECTIONS_PER_ADDRESS", "LONGTAKE_REQUESTS_PER_ADDRESS"),
        ("LONGTAKE_WRONG_KEYS_PER_MINUTE", "LONGTAKE_INVALID_KEYS_PER_MINUTE"),
    ],
)
def test_a_setting_by_its_old_name_is_refused(old: str, new: str, end: str) -> None:
    with pytest.raises(SettingsError, match=f"{old} is now {new}"):
        load({old + end: "10", "LONGTAKE_DATA_DIR": "/nowhere"})


def test_an_empty_former_name_is_ignored() -> None:
    load({"LONGTAKE_WRONG_KEYS_PER_MINUTE": "", "LONGTAKE_DATA_DIR": "/nowhere"})
