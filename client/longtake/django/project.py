"""The project's setting `LONGTAKE`, and the client that it describes."""

from collections.abc import Mapping
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from longtake._sync.client import Client

_KNOWN: Final = ("BASE_URL", "API_KEY", "WEBHOOK_URL", "WEBHOOK_SECRET")


def configured() -> Mapping[str, Any]:
    """`LONGTAKE`, which may lack any of its entries.

    Raises:
        ImproperlyConfigured: it has an entry that is not known.
    """
    given: Mapping[str, Any] = getattr(settings, "LONGTAKE", {})
    for name in given:
        if name not in _KNOWN:
            msg = f"LONGTAKE has {name!r}; what it may have are {', '.join(_KNOWN)}"
            raise ImproperlyConfigured(msg)
    return given


def required(name: str) -> Any:
    """The entry `name` of `LONGTAKE`; ImproperlyConfigured if it is missing or empty."""
    value = configured().get(name)
    if not value:
        raise ImproperlyConfigured(f"LONGTAKE[{name!r}] must be set")
    return value


def client() -> Client:
    """A new client of LONGTAKE's BASE_URL and API_KEY; use it in a `with` statement.

    Raises:
        ImproperlyConfigured: one of them is missing, or wrong.
    """
    key, url = required("API_KEY"), required("BASE_URL")
    try:
        return Client(key, url)
    except ValueError as error:
        raise ImproperlyConfigured(f"LONGTAKE: {error}") from None
