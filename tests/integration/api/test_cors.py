"""Pages in browsers: which origins may call, what they may send and what they may read."""

from pathlib import Path

import pytest

from api.admission import Admission
from models.failure import RequestRefused
from settings import SettingsError, load
from tests.integration.api.conftest import Api, other_settings

pytestmark = pytest.mark.anyio
PATH = "/imagineo/v1/videos/generate"
URL = "https://pictures.example.com/a.png"
PAGE = "https://app.example.com"


async def test_pages_of_named_origins_may_call_and_no_others(
    api: Api, database_url: str, tmp_path: Path
) -> None:
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    async with other_settings(database_url, tmp_path, LONGTAKE_CORS_ORIGINS=PAGE) as http:
        preflight = await http.options(PATH, headers={"Origin": PAGE, **asks})
        called = await http.post(PATH, json={"image_url": URL, "fps": 60}, headers={"Origin": PAGE})
        refused = await http.post(PATH, json={}, headers={"Origin": PAGE})
        foreign = await http.options(PATH, headers={"Origin": "https://evil.example", **asks})
        foreign_call = await http.get("/healthz", headers={"Origin": "https://evil.example"})
    without = await api.http.options(PATH, headers={"Origin": PAGE, **asks})

    allowed = "Access-Control-Allow-Origin"
    assert preflight.status_code == 200
    assert "x-api-key" in preflight.headers["Access-Control-Allow-Headers"].lower()
    for answer in (preflight, called, refused):
        assert answer.headers[allowed] == PAGE
    assert called.status_code == 200
    assert "Longtake-Adapted" in called.headers["Access-Control-Expose-Headers"]
    assert refused.status_code == 400
    for answer in (foreign, foreign_call, without):
        assert allowed not in answer.headers
    assert without.status_code == 405


@pytest.mark.parametrize(
    ("path", "header"),
    [
        (PATH, "longtake-repeats"),
        (PATH, "idempotency-key"),
        (PATH, "last-event-id"),
        ("/v1/videos", "x-stainless-retry-count"),
        ("/v1/videos", "x-stainless-runtime-version"),
    ],
)
async def test_a_page_may_send_the_headers_that_the_api_reads(
    database_url: str, tmp_path: Path, path: str, header: str
) -> None:
    asks = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": f"authorization,content-type,{header}",
    }
    async with other_settings(database_url, tmp_path, LONGTAKE_CORS_ORIGINS=PAGE) as http:
        preflight = await http.options(path, headers={"Origin": PAGE, **asks})
        called = await http.post(path, json={}, headers={"Origin": PAGE})

    assert preflight.status_code == 200, preflight.text
    exposed = called.headers["Access-Control-Expose-Headers"]
    assert {"openai-poll-after-ms", "x-should-retry"} <= {*exposed.split(", ")}


async def test_a_preflight_is_a_request_like_any_other(database_url: str, tmp_path: Path) -> None:
    asks = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    both = {"Content-Length": "5", "Transfer-Encoding": "chunked"}
    async with other_settings(database_url, tmp_path, LONGTAKE_CORS_ORIGINS=PAGE) as http:
        preflight = await http.options(PATH, headers=asks)
        ambiguous = await http.options(PATH, headers={**asks, **both})

    assert preflight.status_code == 200
    assert preflight.headers["X-Request-ID"]
    assert ambiguous.status_code == 400
    assert ambiguous.headers["Connection"] == "close"
    assert "Transfer-Encoding" in ambiguous.text


async def test_pages_can_read_errors_that_come_before_and_in_place_of_an_answer(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with other_settings(database_url, tmp_path, LONGTAKE_CORS_ORIGINS=PAGE) as http:
        monkeypatch.setattr(
            Admission, "refusal", lambda *_, **__: RequestRefused("no", code="full")
        )
        refused = await http.get(PATH, headers={"Origin": PAGE})
        monkeypatch.setattr(Admission, "refusal", lambda *_, **__: 1 / 0)
        failed = await http.get(PATH, headers={"Origin": PAGE})

    for answer, status in ((refused, 400), (failed, 500)):
        assert answer.status_code == status
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert answer.headers["X-Request-ID"]


@pytest.mark.parametrize("origins", ["*", f"{PAGE},*", "app.example.com", "null", f"{PAGE}/"])
def test_an_origin_is_named_in_full(origins: str) -> None:
    with pytest.raises(SettingsError, match="LONGTAKE_CORS_ORIGINS"):
        load({"LONGTAKE_CORS_ORIGINS": origins})
