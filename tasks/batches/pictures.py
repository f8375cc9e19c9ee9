"""Pictures that a batch's lines contain: each is sealed once, however many lines share it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from models import pictures
from models.request import VideoRequest
from models.vault import Vault
from tasks.batches.insert import Rows
from tasks.pictures import contained

#: Pictures whose ids are known without reading them again: those of the batch's defaults, mostly.
_RECENT: Final = 4
#: The longest picture that is sealed on the event loop, in characters.
_SHORT: Final = 16 * 1024


@dataclass(slots=True, kw_only=True)
class Pictures:
    """The pictures of one batch, by their ids."""

    vault: Vault
    tenant: str
    _known: set[str] = field(default_factory=set)
    #: The ids of the latest ones, by their data URIs.
    _recent: dict[str, str] = field(default_factory=dict)

    @property
    def are_there(self) -> bool:
        """Whether there was one."""
        return bool(self._known)

    async def of(self, request: VideoRequest, rows: Rows) -> Mapping[str, str]:
        """The ids of the request's pictures, by parameter; `rows` gets those that are new."""
        return {name: await self._id(uri, rows) for name, uri in contained(request)}

    async def _id(self, uri: str, rows: Rows) -> str:
        if (known := self._recent.get(uri)) is not None:
            return known
        if len(uri) <= _SHORT:
            id_ = self._add(uri, rows)
        else:
            id_ = await asyncio.to_thread(self._add, uri, rows)
        while len(self._recent) >= _RECENT:
            del self._recent[next(iter(self._recent))]
        self._recent[uri] = id_
        return id_

    def _add(self, uri: str, rows: Rows) -> str:
        content = uri.encode()
        id_ = pictures.id_of(self.vault, content, tenant=self.tenant)
        if id_ not in self._known:
            rows.add_picture(pictures.seal(self.vault, content, tenant=self.tenant))
            self._known.add(id_)
        return id_
