"""Longtake's settings: one frozen object, and the only module that reads the environment."""

import json
import os
import re
from collections.abc import Callable, Mapping
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

#: File in which the embedded stack publishes its addresses to other local processes (mode 0600).
STACK_FILE = "stack.json"
#: Scheme, host and port as browsers send them.
_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::[0-9]{1,5})?")
#: A path that stands before others: each part is left as it is by every proxy.
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?", re.ASCII)
#: An address with its port; an IPv6 address is in brackets then.
_WITH_PORT = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<v4>[0-9.]+)):(?P<port>[0-9]{1,5})", re.ASCII)
_LAST_PORT = 65535


#: Former names of settings, which are refused, so that no configured limit is silently ignored.
_RENAMED = {
    "LONGTAKE_CONNECTIONS_PER_ADDRESS": "LONGTAKE_REQUESTS_PER_ADDRESS",
    "LONGTAKE_WRONG_KEYS_PER_MINUTE": "LONGTAKE_INVALID_KEYS_PER_MINUTE",
}
#: The end of the name of a variable that names a file with another's value.
_FILE = "_FILE"
#: Most bytes of such a file: keys are short, and a wrong path may be a device.
_MOST_OF_FILE = 64 * 1024


class SettingsError(Exception):
    """A variable is missing or invalid; the message names it and says what is allowed."""


class Settings(BaseSettings):
    """Everything an operator can configure, from `LONGTAKE_*` variables."""

    model_config = SettingsConfigDict(
        env_prefix="LONGTAKE_", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    #: libpq URL of PostgreSQL 15+; unset: the embedded server of a running stack.
    database_url: str | None = None
    #: Celery's broker: Redis, Valkey or RabbitMQ; unset: the embedded Valkey.
    broker_url: str | None = None
    #: Valkey for short-window limits and hint keys; default: the broker, if it is a Valkey.
    valkey_url: str | None = None
    #: Storage for finished videos: file:///… or s3://bucket/prefix; unset: a folder in `data_dir`.
    storage_url: str | None = None
    #: Public base URL of the API, used in every `video_url` and callback URL.
    public_url: str | None = None
    #: Secrets of at least 32 characters, newest first: encryption at rest and signed links.
    secret_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    #: Non-public networks that the outbound guard permits.
    allow_private_hosts: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = ()
    #: Name servers for hosts that users choose, as in 10.0.0.2 or 127.0.0.1:5353; unset: those of
    #: /etc/resolv.conf.
    name_servers: Annotated[tuple[str, ...], NoDecode] = ()
    #: Folder for embedded servers, local videos and logs.
    data_dir: Path = Path(".longtake")
    #: A catalogue (TOML) merged over the shipped one.
    catalog: Path | None = None
    #: The address the API listens on; 0.0.0.0 behind a proxy or in a container.
    api_host: str = "127.0.0.1"
    api_port: int = Field(default=8000, ge=0, le=65535)
    flower_port: int = Field(default=5555, ge=0, le=65535)
    sim_port: int = Field(default=8100, ge=0, le=65535)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    #: How to treat an attempt that may have been accepted and cannot be looked up.
    unknown_policy: Literal["at_most_once", "at_least_once"] = "at_most_once"
    #: Total time a job may take before it fails with `deadline_exceeded`, in seconds.
    deadline_seconds: int = Field(default=86_400, ge=1, le=30 * 86_400)
    #: Lease on a claimed row, in seconds.
    lease_seconds: float = Field(default=30.0, ge=1, le=600)
    #: How long a pump keeps claiming before it gives its slot back, in seconds.
    pump_seconds: float = Field(default=15.0, ge=0.1, le=60)
    #: Timeout of a paid POST in seconds, unless its provider needs longer; an attempt without a
    #: response is unknown only after this.
    submit_timeout_seconds: float = Field(default=60.0, ge=1, le=900)
    #: How long an unknown attempt waits for its provider's callback if there is no other way to
    #: resolve it, in seconds.
    callback_wait_seconds: float = Field(default=300.0, ge=0, le=86_400)
    #: Overrides every provider's minimum interval between polls, in seconds.
    poll_floor_seconds: float | None = Field(default=None, ge=0.05, le=600)
    #: Mean time from the end of an operation to the poll that sees it, in seconds; unset: half of
    #: the minimum interval and 2 % of its route's median together.
    poll_delay_seconds: float | None = Field(default=None, ge=0.05, le=600)
    #: Whether polls go through the lean client; off: through the one of downloads, at several
    #: times the CPU.
    lean_polls: bool = True
    #: Whether processes keep running operations in memory and write only news; otherwise each poll
    #: reads and writes its rows.
    resident_polls: bool = True
    #: Maximum number of operations that a process keeps in memory.
    watched_operations: int = Field(default=100_000, ge=1, le=10_000_000)
    #: Maximum size of a finished video, in bytes.
    max_video_bytes: int = Field(default=2 * 2**30, ge=2**20)
    #: Maximum PostgreSQL connections per process.
    database_connections: int = Field(default=8, ge=2, le=100)

    #: Days to keep events and webhook tries.
    keep_events_days: int = Field(default=90, ge=1)
    #: Days to keep finished jobs and everything belonging to them; unset: forever.
    keep_jobs_days: int | None = Field(default=None, ge=1)
    #: Days to keep videos after storing them; unset: as long as their jobs.
    keep_videos_days: int | None = Field(default=None, ge=1)

    #: Total time of a job that was submitted by Layer's API, whose call waits for it, in seconds.
    layer_deadline_seconds: int = Field(default=900, ge=1, le=86_400)
    #: How long Layer's API holds back its response's status, in seconds: Node's fetch gives up
    #: after 300.
    layer_headers_seconds: float = Field(default=240.0, ge=0, le=3600)
    #: White space is sent this often after that, in seconds, so that no proxy closes the call.
    layer_space_seconds: float = Field(default=15.0, ge=0.05, le=300)

    #: Origins whose pages may call the API from a browser, as in https://app.example.com.
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    #: What a reverse proxy takes off a browser's path to the pages, as in /video.
    ui_prefix: str = ""
    #: Networks of the reverse proxies in front of the API, whose X-Forwarded-For is believed.
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = ()
    #: Open connections of one API process; unset: what its files allow, and at most 6,000.
    max_connections: int | None = Field(default=None, ge=32, le=100_000)
    #: Requests in progress of one address that have shown no valid key; unset: half of those.
    requests_per_address: int | None = Field(default=None, ge=1, le=100_000)
    #: Open streams of events and open calls of one tenant in one API process.
    streams_per_tenant: int = Field(default=250, ge=1, le=10_000)
    #: How long a request's line and headers may take to arrive, in seconds.
    header_seconds: float = Field(default=10.0, ge=1, le=120)
    #: How long a request's body may take, in seconds; each second's worth of bytes that arrived,
    #: at the rate below, adds one.
    body_seconds: float = Field(default=20.0, ge=1, le=600)
    body_bytes_per_second: int = Field(default=1024, ge=1, le=2**30)
    #: Invalid keys and tokens of callbacks of one address in a minute before it is told 429.
    invalid_keys_per_minute: int = Field(default=60, ge=1, le=1_000_000)
    #: Whether Imagineo's API takes a request without a picture, as its document's example sends.
    imagineo_text_to_video: bool = False

    #: Port of a worker's own numbers for Prometheus; 0 or unset: none. The local stack's workers
    #: take this one and those after it.
    metrics_port: int = Field(default=0, ge=0, le=65533)
    #: The address that this port listens on.
    metrics_host: str = "127.0.0.1"

    #: Whether Flower lists each job as a task of its own.
    flower_jobs: bool = True

    #: For fault tests: the point in `tasks.crash` at which a worker dies.
    crash_at: str | None = None

    #: Variables of the environment without our prefix, of which `providers.registry` takes those
    #: that a provider declares.
    other_variables: Mapping[str, SecretStr] = Field(default_factory=dict, repr=False)
    #: Vendors' variables of the running stack, used if the environment has none.
    vendor: Mapping[str, SecretStr] = Field(default_factory=dict, repr=False)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings' names
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only the values from `load`, which reads the environment."""
        return (init_settings,)

    @field_validator("trusted_proxies", mode="before")  # after the next one, which splits
    @classmethod
    def _networks(cls, networks: object) -> object:
        for each in networks if isinstance(networks, tuple) else ():
            try:
                ip_network(each)
            except ValueError:
                msg = "each must be an address or network without host bits, not a name: 10.0.0.0/8"
                raise ValueError(msg) from None
        return networks

    @field_validator(
        *("secret_keys", "allow_private_hosts", "name_servers", "cors_origins", "trusted_proxies"),
        mode="before",
    )
    @classmethod
    def _split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("secret_keys")
    @classmethod
    def _keys_are_long(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(key.get_secret_value()) < 32 for key in keys):  # noqa: PLR2004 - stated in the message
            msg = "each key must have at least 32 characters"
            raise ValueError(msg)
        return keys

    @field_validator("cors_origins")
    @classmethod
    def _named_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                msg = "each must be an origin as in https://app.example.com, and never *"
                raise ValueError(msg)
        return origins

    @field_validator("ui_prefix")
    @classmethod
    def _plain_path(cls, prefix: str) -> str:
        if not _PREFIX.fullmatch(prefix):
            msg = "must be a path of letters, digits, dots, dashes and underscores, as in /video"
            raise ValueError(msg)
        return prefix.rstrip("/")

    @field_validator("name_servers")
    @classmethod
    def _addresses_with_ports(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        for server in servers:
            if not _is_name_server(server):
                msg = "each must be an IP address, with a port or without: 10.0.0.2, [::1]:5353"
                raise ValueError(msg)
        return servers

    @field_validator("database_url")
    @classmethod
    def _postgres_only(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("postgresql://", "postgres://")):
            msg = "must begin with postgresql:// (PostgreSQL 15 or newer is the only database)"
            raise ValueError(msg)
        return url

    @field_validator("broker_url")
    @classmethod
    def _known_broker(cls, url: str | None) -> str | None:
        allowed = ("redis://", "rediss://", "redis+socket://", "amqp://", "amqps://")
        if url is not None and not url.startswith(allowed):
            msg = f"must begin with one of {', '.join(allowed)}"
            raise ValueError(msg)
        return url

    @field_validator("public_url")
    @classmethod
    def _http_without_slash(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            msg = "must begin with http:// or https://"
            raise ValueError(msg)
        return url.rstrip("/") if url else url

    @property
    def api_url(self) -> str:
        return self.public_url or f"http://127.0.0.1:{self.api_port}"

    @property
    def limits_url(self) -> str | None:
        """The Valkey for hint keys: `valkey_url`, or the broker if it is one."""
        if self.valkey_url:
            return self.valkey_url
        return self.broker_url if (self.broker_url or "").startswith("redis") else None

    @property
    def videos_url(self) -> str:
        return self.storage_url or (self.data_dir.resolve() / "videos").as_uri()

    def require_database(self) -> str:
        """The database's URL.

        Raises:
            SettingsError: the variable is unset and no embedded stack runs on `data_dir`.
        """
        return self._require("LONGTAKE_DATABASE_URL", self.database_url)

    def require_broker(self) -> str:
        """The broker's URL; raises as `require_database`."""
        return self._require("LONGTAKE_BROKER_URL", self.broker_url)

    def _require(self, variable: str, value: str | None) -> str:
        if value is None:
            msg = (
                f"{variable} is not set and no embedded stack runs on {self.data_dir} "
                "(LONGTAKE_DATA_DIR). Start one with `longtake up`, or set the variable."
            )
            raise SettingsError(msg)
        return value


def load(environment: Mapping[str, str] | None = None, *, sealing: bool = True) -> Settings:
    """Settings from the environment, completed from a running embedded stack on `data_dir`.

    A variable's value may be in a file that `NAME_FILE` names. Without `sealing`, for work on the
    schema alone, a database needs no LONGTAKE_SECRET_KEYS.

    Raises:
        SettingsError: a variable has an invalid value or a former name; the message names each one.
    """
    source = read_files(os.environ if environment is None else environment)
    if old := [
        f"{name} is now {new}"
        for name, new in _RENAMED.items()
        if source.get(name) or source.get(name + _FILE)
    ]:
        raise SettingsError("\n".join(old))
    values: dict[str, Any] = {
        name.removeprefix("LONGTAKE_").lower(): value
        for name, value in source.items()
        if name.startswith("LONGTAKE_") and value
    }
    if "database_url" not in values and "broker_url" not in values:
        values = _running_stack(Path(values.get("data_dir", ".longtake"))) | values
    values["other_variables"] = {
        name: value for name, value in source.items() if value and not name.startswith("LONGTAKE_")
    }
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise SettingsError(_describe(error)) from None
    if sealing and settings.database_url and not settings.secret_keys:
        raise SettingsError(
            "LONGTAKE_SECRET_KEYS: must be set together with LONGTAKE_DATABASE_URL "
            "(a secret of at least 32 characters; several are comma-separated, newest first)"
        )
    return settings


def read_files(
    source: Mapping[str, str], *, also: Callable[[str], bool] = lambda _: False
) -> dict[str, str]:
    """The variables, with NAME and its file's content for each `NAME_FILE`, as of Docker's secrets.

    NAME is one of ours, or one that `also` says yes to. Line ends at the end are no part of it.

    Raises:
        SettingsError: both are set, or the file can't be read, is empty or is no text; the message
            names the variable and the file.
    """
    read = dict(source)
    for variable, path in source.items():
        name = variable.removesuffix(_FILE)
        if name == variable or not path or not (_is_ours(name) or also(name)):
            continue
        if source.get(name):
            raise SettingsError(f"{name} and {variable}: only one of them may be set")
        del read[variable]
        read[name] = _content(variable, Path(path))
    return read


def _is_ours(variable: str) -> bool:
    prefix, _, field = variable.partition("_")
    return prefix == "LONGTAKE" and field.lower() in Settings.model_fields


def _content(variable: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_OF_FILE + 1)
        text = content.decode().rstrip("\r\n")
    except OSError as error:
        raise SettingsError(f"{variable}: {path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{variable}: {path} must be text in UTF-8") from None
    if not text or len(content) > _MOST_OF_FILE:
        raise SettingsError(
            f"{variable}: {path} must have 1 to {_MOST_OF_FILE} bytes beside its line end"
        )
    return text


def _is_name_server(text: str) -> bool:
    host, port = text, 53
    if found := _WITH_PORT.fullmatch(text):
        host, port = found["v6"] or found["v4"], int(found["port"])
    try:
        ip_address(host)
    except ValueError:
        return False
    return 0 < port <= _LAST_PORT


@cache
def current() -> Settings:
    """The process's settings, read once."""
    return load()


def environment() -> dict[str, str]:
    """A copy of this process's environment, for child processes."""
    return dict(os.environ)


def _running_stack(data_dir: Path) -> dict[str, Any]:
    try:
        stack = json.loads((data_dir / STACK_FILE).read_text())
    except (FileNotFoundError, NotADirectoryError, PermissionError, json.JSONDecodeError):
        return {}
    return TypeAdapter(dict[str, Any]).validate_python(stack.get("settings", {}))


#: Fields whose values no error message shows: URLs may hold a password.
_SECRET = (
    *("secret_keys", "other_variables", "vendor"),
    *("database_url", "broker_url", "valkey_url", "storage_url", "public_url"),
)


def _describe(error: ValidationError) -> str:
    lines = []
    for issue in error.errors():
        message = issue["msg"].removeprefix("Value error, ")
        field = ".".join(str(part) for part in issue["loc"])
        secret = field.startswith(_SECRET)
        given = "" if secret or not field else f" (it is {issue['input']!r})"
        name = f"LONGTAKE_{field.split('.')[0].upper()}: " if field else ""
        lines.append(f"{name}{message}{given}")
    return "\n".join(lines)
