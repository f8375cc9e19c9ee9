"""A browser without a screen: pages over the application, with cookies, forms and their tokens."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final

import httpx

from models.page_sessions import create_link
from tests.integration.api.conftest import Api

#: Elements without an end tag (HTML, section 13.1.2).
_VOID: Final = {
    *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source"),
    *("track", "wbr"),
}
TOKEN: Final = re.compile(r'name="csrf" value="([^"]+)"')


class _Checker(HTMLParser):
    """Notes what is wrong with a page's form, and all of its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.forms: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(set(names)) < len(names):
            self.faults.append(f"<{tag}> has an attribute twice: {names}")
        self.attributes += [(tag, name, value) for name, value in attrs]
        given = dict(attrs)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        if tag == "form":
            self.forms.append({"method": given.get("method"), "token": None})
        if tag == "input" and given.get("name") == "csrf" and self.forms:
            self.forms[-1]["token"] = given.get("value")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> ends {self.open[-1:]}")
        else:
            self.open.pop()


def checked(text: str) -> _Checker:
    """The page, which is well-formed, has each id once, a token in every form that changes
    something, and neither style nor script of its own.
    """
    checker = _Checker()
    checker.feed(text)
    checker.close()
    assert text.startswith("<!doctype html>")
    assert checker.faults == [], checker.faults
    assert checker.open == [], checker.open
    assert len(set(checker.ids)) == len(checker.ids)
    for tag, name, value in checker.attributes:
        assert name != "style", f"<{tag} style={value!r}>"
        assert not name.startswith("on"), f"<{tag} {name}={value!r}>"
        assert not (value or "").strip().lower().startswith("javascript:"), value
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style", text)
    for form in checker.forms:
        if form["method"] == "post":
            assert form["token"], "a form has no token"
    return checker


@dataclass(slots=True)
class Browser:
    """One browser, which keeps its cookies."""

    http: httpx.AsyncClient
    token: str = field(default="", repr=False)

    async def open(self, path: str) -> httpx.Response:
        """A page that answers 200; its form's token is kept for `send`."""
        answer = await self.get(path)
        assert answer.status_code == 200, answer.text
        return answer

    async def get(self, path: str) -> httpx.Response:
        answer = await self.http.get(path)
        if answer.headers.get("content-type", "").startswith("text/html"):
            checked(answer.text)
            found = TOKEN.search(answer.text)
            self.token = found[1] if found else self.token
        return answer

    async def send(
        self, path: str, *, token: str | None = None, **fields: str | Sequence[str]
    ) -> httpx.Response:
        """A form's answer, without following it."""
        data = {"csrf": self.token if token is None else token, **fields}
        return await self.http.post(path, data=data)


def new_browser(api: Api) -> Browser:
    """A browser that nobody has signed in with."""
    transport = httpx.ASGITransport(api.app, raise_app_exceptions=False)
    return Browser(httpx.AsyncClient(transport=transport, base_url="https://api.test"))


async def new_link(api: Api, tenant: str = "acme", **options: bool | str | None) -> str:
    """The path of a link that signs in."""
    plain = await api.front.engine.database.run(
        lambda connection: create_link(connection, tenant, **options)  # type: ignore[arg-type]
    )
    return f"/ui/in/{plain}"


async def signed_in(api: Api, tenant: str = "acme", **options: bool | str | None) -> Browser:
    """A browser with a session of the tenant."""
    browser, link = new_browser(api), await new_link(api, tenant, **options)
    await browser.open(link)
    answer = await browser.send(link)
    assert answer.status_code == 303, answer.text
    await browser.open(answer.headers["Location"])
    return browser
