"""What pages with lists share: filters of the query string, and the address of the next page."""

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from api.front import key_of
from api.native.listing import Page, parse_page
from api.native.tenants import wanted_tenant

#: Rows of a page.
ROWS: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The page of a list that was asked for."""

    page: Page
    #: Whose things are shown; None: all tenants'.
    tenant: str | None

    def value(self, name: str) -> str | None:
        return self.page.filters.get(name)

    @property
    def query(self) -> dict[str, str]:
        """The filters and the rows of a page, for addresses of the same list."""
        rows = {} if self.page.limit == ROWS else {"limit": str(self.page.limit)}
        return dict(self.page.filters) | rows


def read_listing(request: Request, *filters: str) -> Listing:
    """The filters and the page; those that a form left empty count as absent.

    An admin's list is of all tenants unless it names one.

    Raises:
        RequestRefused: as `api.native.listing.read_page`.
    """
    given = [(name, value) for name, value in request.query_params.multi_items() if value]
    if "limit" not in dict(given):
        given.append(("limit", str(ROWS)))
    page = parse_page(given, *filters, "tenant")
    everyones = "*" if key_of(request).is_admin else None
    return Listing(page=page, tenant=wanted_tenant(request, page.filters.get("tenant", everyones)))
