"""Runs provider verbs over HTTP, in the same way for every vendor."""

from collections.abc import Mapping
from dataclasses import replace
from typing import NoReturn, TypeVar
from urllib.parse import urlsplit

from providers.answers import Undocumented
from providers.base import Account, Call, Flow, Provider, ProviderError
from providers.failures import without_echoes
from transport.base import BadAnswer, Request, Response, Sender
from transport.deadline import Deadline

T = TypeVar("T")

#: Exceptions that parsing an unexpected response can raise, besides Undocumented.
_PARSE_ERRORS = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)

_DEFAULT_PORTS = {"http": 80, "https": 443}


async def converse(
    flow: Flow[T],
    *,
    provider: Provider,
    account: Account,
    client: Sender,
    now: float,
    paid_timeout: float | None = None,
    begin_within: float | None = None,
) -> T:
    """Run a verb: send each call it yields and feed it the response.

    `now` is Unix time, for expiring credentials. `paid_timeout` overrides the paid call's timeout,
    in seconds. The paid request's first byte must leave within `begin_within` seconds, or it is not
    sent.

    Raises:
        ProviderError: the vendor returned an error; `failure` classifies it.
        UnknownStatus: the vendor used an undocumented status word.
        NotSent: the last call was not read by the server.
        Unanswered: the last call's outcome is unknown; BadAnswer if its response is unusable.
    """
    try:
        call = next(flow)
        while True:
            request = request_for(call, provider=provider, account=account, now=now)
            if call.paid:
                begin_by = Deadline(begin_within) if begin_within is not None else None
                request = replace(
                    request, timeout=paid_timeout or request.timeout, begin_by=begin_by
                )
            response = await client.send(request)
            if not (response.is_success or response.status in call.accept):
                _fail(response, call=call, provider=provider, account=account)
            call = _resume(flow, response, call=call, provider=provider, account=account)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        flow.close()


def request_for(call: Call, *, provider: Provider, account: Account, now: float) -> Request:
    """The complete request: absolute URL, content type, credentials if for the account's origin."""
    call = provider.address(call, account)
    target = call.target
    absolute = target.startswith(("https://", "http://"))
    url = target if absolute else _account_url(target, provider=provider, account=account)
    content = call.content
    headers = {"accept": "application/json"}
    if content is not None:
        headers["content-type"] = "application/json"
    # URLs in responses can point anywhere: send credentials to the vendor's own origin only.
    if not absolute or _same_origin(url, account.base_url):
        _set_headers(headers, provider.authorize(account, now=now))
    _set_headers(headers, call.headers)
    return Request(
        method=call.method,
        url=url,
        headers=headers,
        content=content,
        form=call.form,
        timeout=call.timeout,
        max_bytes=call.max_bytes,
    )


def _account_url(target: str, *, provider: Provider, account: Account) -> str:
    """The absolute URL of a relative path: base URL, account prefix, path."""
    return account.base_url.rstrip("/") + provider.root(account) + "/" + target.lstrip("/")


def _fail(response: Response, *, call: Call, provider: Provider, account: Account) -> NoReturn:
    raise _without_echoes(
        ProviderError(provider.explain(response), status=response.status),
        call=call,
        account=account,
    )


def _without_echoes(error: ProviderError, *, call: Call, account: Account) -> ProviderError:
    texts = (part.content.decode() for part in call.form if part.filename is None)
    sent = [call.json, *texts]
    failure = without_echoes(error.failure, sent=sent, secrets=account.credentials.values())
    return ProviderError(failure, status=error.status)


def _resume(
    flow: Flow[T], response: Response, *, call: Call, provider: Provider, account: Account
) -> Call:
    """The flow's next call; StopIteration carries its result."""
    try:
        return flow.send(response)
    except ProviderError as error:  # some vendors return errors with status 200
        raise _without_echoes(error, call=call, account=account) from None
    except _PARSE_ERRORS as error:
        where = f"{provider.name}: unexpected response to {call.method} {urlsplit(call.path).path}"
        msg = f"{where}: {_describe(error)}"
        raise BadAnswer(msg) from error


def _describe(error: Exception) -> str:
    """Describe a parse error without quoting any value."""
    match error:
        case Undocumented():
            return str(error)
        case KeyError(args=(str() as field, *_)):
            return f"{field[:64]!r} is missing"
        case _:
            return f"cannot be parsed ({type(error).__name__})"


def _same_origin(url: str, base_url: str) -> bool:
    return _origin(url) is not None and _origin(url) == _origin(base_url)


def _origin(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port; None for a URL that parsers could read differently."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname or "@" in parts.netloc or "\\" in url:
        return None
    return parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme]


def _set_headers(headers: dict[str, str], more: Mapping[str, str]) -> None:
    for name, value in more.items():
        headers[name.lower()] = value
