"""What one process works with: its pool, clients and providers; built once, used on one loop."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from catalog.models import Catalog
from models.database import Database
from models.vault import Vault
from providers.base import Account, Capabilities, Provider
from providers.registry import PROVIDERS, accounts, capabilities_of, provider_of, variable_of
from scheduler.looks import Looks
from scheduler.usual import usual_times
from settings import Settings
from storage.base import Storage
from storage.inspectors import Inspectors
from storage.objects import ObjectStorage
from tasks.restore.clearance import Clearance
from tasks.surveyor import Memory
from tasks.upstream import NoCredentials, Upstream
from transport.base import Client, Sender
from transport.exact import ExactClient
from transport.fast import FastClient
from transport.getter import Getter
from transport.guard import Guard

#: More than webhooks, downloads and pictures hold together: none of them waits here for another's
#: receivers, and each pump limits its own.
GUARDED_CONNECTIONS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Everything that the verbs need; building it opens no connection."""

    settings: Settings
    database: Database
    vault: Vault
    catalog: Catalog
    accounts: Mapping[str, Account]
    storage: Storage
    guard: Guard
    #: For the few requests that must tell exactly what became of them.
    exact: Client
    #: For polls, to addresses that an operator configured.
    polls: Sender
    #: For requests to addresses that a user can choose.
    guarded: Client
    #: Chooses among accounts: numbers from 0 up to 1.
    dice: Callable[[], float] = random.random
    #: The child processes that look into videos; none runs before the first video.
    inspectors: Inspectors = field(default_factory=Inspectors)
    #: When to look at operations next.
    looks: Looks = field(default_factory=Looks)
    #: What is remembered of accounts' listings.
    surveys: dict[str, Memory] = field(default_factory=dict)
    #: Held while a stored picture is read or written: each may have megabytes.
    one_picture: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    #: What this process was cleared to pay for; see `tasks.restore.clearing`.
    clearance: Clearance = field(default_factory=Clearance)

    @classmethod
    def build(cls, settings: Settings) -> "Engine":
        guard = Guard(settings.allow_private_hosts)
        catalog = Catalog.load(settings)
        return cls(
            settings=settings,
            database=Database(
                settings.require_database(), connections=settings.database_connections
            ),
            vault=Vault(settings.secret_keys),
            catalog=catalog,
            looks=Looks(usual=usual_times(catalog), delay=settings.poll_delay_seconds),
            accounts=accounts(settings),
            storage=ObjectStorage(settings.videos_url),
            guard=guard,
            exact=ExactClient(),
            polls=_polls(settings),
            guarded=FastClient.guarded(
                guard, connections=GUARDED_CONNECTIONS, name_servers=settings.name_servers
            ),
        )

    def upstream(self, account: str) -> Upstream:
        """An account, ready to be asked.

        Raises:
            NoCredentials: this process has no credentials for it.
        """
        known = self.accounts.get(account)
        if known is None:
            raise NoCredentials(account)
        return Upstream(
            provider=PROVIDERS[known.provider],
            account=known,
            exact=self.exact,
            polls=self.polls,
            submit_timeout=self.submit_timeout(account),
        )

    def provider(self, account: str) -> Provider:
        return PROVIDERS[self.accounts[account].provider]

    def capabilities(self, account: str) -> Capabilities:
        """What an account's provider can do; this process may lack the account's credentials."""
        return capabilities_of(provider_of(account))

    def callback_secret(self, account: str) -> str | None:
        """What a vendor signs an account's callbacks with, where that is set."""
        variable = PROVIDERS[provider_of(account)].callback_secret
        return variable_of(self.settings, variable, account=account) if variable else None

    def submit_timeout(self, account: str) -> float:
        """Seconds in which a paid POST is answered or cut off."""
        own = self.capabilities(account).submit_timeout
        return own or self.settings.submit_timeout_seconds

    def poll_floor(self, account: str) -> float:
        """The shortest wait between two polls on an account, in seconds."""
        chosen = self.settings.poll_floor_seconds
        return self.capabilities(account).poll_floor if chosen is None else chosen

    def poll_stride(self, account: str) -> float:
        """Seconds between the moments at which an account's operations are polled together.

        0 where one request tells of one operation only.
        """
        capabilities = self.capabilities(account)
        is_shared = capabilities.poll_many > 1 or (
            capabilities.listed > 0 and not self.survey_memory(account).rests(time.monotonic())
        )
        return self.poll_floor(account) if is_shared else 0.0

    def survey_memory(self, account: str) -> Memory:
        """What this process remembers of an account's listing."""
        return self.surveys.setdefault(account, Memory())

    async def close(self) -> None:
        for client in (self.exact, self.polls, self.guarded):
            await client.close()
        await asyncio.to_thread(self.inspectors.close)
        await self.database.close()


def _polls(settings: Settings) -> Sender:
    """A few vendors poll by POST, which the getter leaves to the other client."""
    fast = FastClient.trusted()
    return Getter(otherwise=fast) if settings.lean_polls else fast
