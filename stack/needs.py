"""What each process's environment holds: none gets a secret that its work has no use for."""

from collections.abc import Mapping
from enum import Enum

#: Of the machine and its interpreter, without secrets; every process gets these.
_SYSTEM = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR"),
        *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    }
)
_SYSTEM_PREFIXES = ("LC_", "PYTHON")
#: What a process needs that speaks with the broker alone.
_BROKER = frozenset({"LONGTAKE_BROKER_URL", "LONGTAKE_LOG_LEVEL"})
#: Flower's own options, its passwords among them.
_FLOWER = "FLOWER_"


class Needs(Enum):
    """What a process works with."""

    #: Database, sealing keys, vendors' variables and storage, which may be credentials of a cloud.
    EVERYTHING = "everything"
    #: The broker alone.
    BROKER = "broker"
    #: The broker, and Flower's own options.
    FLOWER = "flower"
    #: Nothing of ours.
    NOTHING = "nothing"


def variables_for(needs: Needs, whole: Mapping[str, str]) -> dict[str, str]:
    """The variables of `whole` for a process; an unknown one may be a secret."""
    return {name: value for name, value in whole.items() if _is_given(name, needs)}


def _is_given(name: str, needs: Needs) -> bool:
    if needs is Needs.EVERYTHING:
        return not name.startswith(_FLOWER)
    if name in _SYSTEM or name.startswith(_SYSTEM_PREFIXES):
        return True
    if name.startswith(_FLOWER):
        return needs is Needs.FLOWER
    return name in _BROKER and needs is not Needs.NOTHING
