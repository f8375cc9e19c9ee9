"""Carries a provider's conversation over the wire: the same way for every verb of every vendor."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import NoReturn, TypeVar
from urllib.parse import urlsplit

from providers.answers import Undocumented
from providers.base import Account, Call, Flow, Provider, ProviderError
from providers.failures import without_echoes
from transport.base import BadAnswer, Client, Request, Response

T = TypeVar("T")

#: What reading an answer that is not as documented can raise, besides our own Undocumented.
_MISREADINGS = (
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
    client: Client,
    now: float,
    before_paid: Callable[[Request], Awaitable[None]] | None = None,
    paid_timeout: float | None = None,
) -> T:
    """Drive a verb to its result: send each call that it yields, give it the answer.

    `now` is Unix time, for credentials that expire. `before_paid` is awaited with the request that
    costs money, whole, just before it leaves: what it raises keeps the request from being sent.
    `paid_timeout` replaces that call's own time-out, in seconds.

    Raises:
        ProviderError: the vendor answered with an error; `failure` says what it means.
        UnknownStatus: the vendor used a status word that is not documented.
        NotSent: no byte of the last call was read by anyone.
        Unanswered: the last call's fate is unknown; BadAnswer where its answer can't be used.
    """
    try:
        call = next(flow)
        while True:
            request = request_for(call, provider=provider, account=account, now=now)
            if call.paid:
                request = replace(request, timeout=paid_timeout or request.timeout)
                if before_paid is not None:
                    await before_paid(request)
            response = await client.send(request)
            if not (response.is_success or response.status in call.accept):
                _refuse(response, call=call, provider=provider, account=account)
            call = _resume(flow, response, call=call, provider=provider, account=account)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        flow.close()


def request_for(call: Call, *, provider: Provider, account: Account, now: float) -> Request:
    """The call as it leaves: absolute, with content type, and with credentials if it goes home."""
    call = provider.address(call, account)
    target = call.target
    absolute = target.startswith(("https://", "http://"))
    url = target if absolute else _at_home(target, provider=provider, account=account)
    content = call.content
    headers = {"accept": "application/json"}
    if content is not None:
        headers["content-type"] = "application/json"
    # A link in an answer may point anywhere: our key goes to the vendor's own origin only.
    if not absolute or _same_origin(url, account.base_url):
        _put(headers, provider.authorize(account, now=now))
    _put(headers, call.headers)
    return Request(
        method=call.method,
        url=url,
        headers=headers,
        content=content,
        form=call.form,
        timeout=call.timeout,
        max_bytes=call.max_bytes,
    )


def _at_home(target: str, *, provider: Provider, account: Account) -> str:
    """The absolute address of a relative path: base address, the account's own root, path."""
    return account.base_url.rstrip("/") + provider.root(account) + "/" + target.lstrip("/")


def _refuse(response: Response, *, call: Call, provider: Provider, account: Account) -> NoReturn:
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
    """The flow's next call; StopIteration carries its result out."""
    try:
        return flow.send(response)
    except ProviderError as error:  # some vendors put their errors into answers of status 200
        raise _without_echoes(error, call=call, account=account) from None
    except _MISREADINGS as error:
        where = f"{provider.name}: the answer to {call.method} {urlsplit(call.path).path}"
        msg = f"{where} is not what is documented: {_in_words(error)}"
        raise BadAnswer(msg) from error


def _in_words(error: Exception) -> str:
    """What was wrong with an answer, without any value of it."""
    match error:
        case Undocumented():
            return str(error)
        case KeyError(args=(str() as field, *_)):
            return f"it has no {field[:64]!r}"
        case _:
            return f"it can't be read ({type(error).__name__})"


def _same_origin(url: str, base_url: str) -> bool:
    return _origin(url) is not None and _origin(url) == _origin(base_url)


def _origin(url: str) -> tuple[str, str, int] | None:
    """Scheme, host and port; None for an address that two parsers could read differently."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname or "@" in parts.netloc or "\\" in url:
        return None
    return parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme]


def _put(headers: dict[str, str], more: Mapping[str, str]) -> None:
    for name, value in more.items():
        headers[name.lower()] = value
