"""Whose jobs a request reads: the key's own tenant's, or with an admin's key any tenant's."""

from typing import Final

from starlette.requests import Request

from api.front import key_of, refuse_unless_admin
from api.openapi import parameter
from models.failure import RequestRefused
from models.keys import is_tenant_name
from models.records import Json

#: The value that stands for all tenants.
_ALL: Final = "*"

#: Documentation of the parameter.
TENANT: Final = parameter(
    "tenant",
    "With an admin key: the tenant whose entries are read, or `*` for those of all; without it, "
    "the key's own. With another key only its own tenant's name is allowed",
)


def any_or_own(request: Request) -> str | None:
    """Whose things a request may read by their ids: None is any tenant's, to an admin's key."""
    key = key_of(request)
    return None if key.is_admin else key.tenant


def wanted_tenant(request: Request, name: str | None) -> str | None:
    """Whose things a list shows, by the value of its parameter `tenant`; None is all tenants'.

    Raises:
        RequestRefused: it is no tenant's name, or the key may read its own tenant only.
    """
    key = key_of(request)
    if name is None:
        return key.tenant
    if name != _ALL and not is_tenant_name(name):
        msg = (
            "tenant must be a tenant's name, of up to 64 letters, digits, dots, dashes and "
            f"underscores, or {_ALL} for all (it is {name[:64]})"
        )
        raise RequestRefused(msg, param="tenant")
    if name != key.tenant:
        refuse_unless_admin(key, what="other tenants' entries")
    return None if name == _ALL else name


def with_tenant(request: Request, view: Json, tenant: str | None) -> Json:
    """The view of something; an admin's key is told whose it is."""
    return view | {"tenant": tenant} if key_of(request).is_admin else view
