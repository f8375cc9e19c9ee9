"""Google's accounts: projects, regions, a gateway's address, and tokens that a key file signs."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from google.auth import jwt
from google.oauth2.service_account import Credentials

from providers.base import Account, Call
from providers.exchange import request_for
from providers.registry import PROVIDERS, accounts, missing_variables
from providers.vendors.google.service_account import LIVES, RENEWED
from settings import SettingsError, load

NOW = 1_800_000_000.0
#: For whom Google's own client of this API has its tokens made, whatever the region's host.
AUDIENCE = "https://aiplatform.googleapis.com/"
PLACE = {"GOOGLE_CLOUD_PROJECT": "my-project", "GOOGLE_CLOUD_LOCATION": "europe-west4"}
TOKEN = {"GOOGLE_ACCESS_TOKEN": "ya29.test", **PLACE}
SIGNING_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def found(variables: Mapping[str, str]) -> Mapping[str, Account]:
    return accounts(load({"LONGTAKE_DATA_DIR": "/nonexistent", **variables}))


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def key_file(folder: Path, **changes: object) -> Path:
    """A file as Google's console gives it, with changes."""
    info = {
        "type": "service_account",
        "project_id": "my-project",
        "private_key_id": "k1",
        "private_key": pem(SIGNING_KEY),
        "client_email": "films@my-project.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    path = folder / "key.json"
    path.write_text(json.dumps(info | changes), encoding="utf-8")
    return path


def bearer(account: Account, *, now: float = NOW) -> str:
    headers = PROVIDERS["veo"].authorize(account, now=now)
    return headers["authorization"].removeprefix("Bearer ")


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("us-central1", "https://us-central1-aiplatform.googleapis.com"),
        ("global", "https://aiplatform.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_a_location_has_its_own_host(location: str, host: str) -> None:
    account = found(TOKEN | {"GOOGLE_CLOUD_LOCATION": location})["veo"]
    assert account.base_url == host


def test_another_base_address_is_taken_as_it_is() -> None:
    given = TOKEN | {"GOOGLE_VERTEX_BASE_URL": "http://127.0.0.1:81/vertex/"}
    assert found(given)["veo"].base_url == "http://127.0.0.1:81/vertex"


def test_a_location_that_is_none_is_told_by_its_variable() -> None:
    with pytest.raises(SettingsError, match="GOOGLE_CLOUD_LOCATION"):
        found(TOKEN | {"GOOGLE_CLOUD_LOCATION": "evil.example.com/"})


def test_project_and_location_are_in_every_path_and_can_not_leave_theirs() -> None:
    account = found(TOKEN | {"GOOGLE_CLOUD_PROJECT": "a/../b"})["veo"]
    call = Call(method="GET", path="/publishers/google/models/m")
    request = request_for(call, provider=PROVIDERS["veo"], account=account, now=NOW)
    assert request.url == (
        "https://europe-west4-aiplatform.googleapis.com"
        "/v1beta1/projects/a%2F..%2Fb/locations/europe-west4/publishers/google/models/m"
    )


def test_a_token_or_a_key_file_is_needed_and_a_place() -> None:
    assert "veo" not in found({"GOOGLE_ACCESS_TOKEN": "ya29.test"})
    assert missing_variables("veo") == (
        "GOOGLE_ACCESS_TOKEN and GOOGLE_CLOUD_PROJECT and GOOGLE_CLOUD_LOCATION, "
        "or GOOGLE_APPLICATION_CREDENTIALS and GOOGLE_CLOUD_PROJECT and GOOGLE_CLOUD_LOCATION"
    )


def test_a_gateway_is_only_spoken_to_where_its_address_is_given() -> None:
    key = {"GEMINI_API_KEY": "AIza-test"}
    assert list(found(key)) == ["gemini"]
    google = {"GOOGLE_GEMINI_BASE_URL": "https://generativelanguage.googleapis.com/"}
    assert list(found(key | google)) == ["gemini"]
    both = found(key | {"GOOGLE_GEMINI_BASE_URL": "https://gateway.example.com"})
    assert set(both) == {"gemini", "gemini_veo"}
    assert missing_variables("gemini_veo") == "GEMINI_API_KEY and GOOGLE_GEMINI_BASE_URL"


def test_a_key_file_signs_tokens_as_googles_own_library_does(tmp_path: Path) -> None:
    # Given a service account's key file, and Google's library as the judge
    path = key_file(tmp_path)
    theirs = Credentials.from_service_account_file(path)  # type: ignore[no-untyped-call] # google-auth has no types
    theirs._create_self_signed_jwt(AUDIENCE)  # noqa: SLF001 - what its own clients call
    theirs.refresh(None)
    # When we make a token
    ours = bearer(found({"GOOGLE_APPLICATION_CREDENTIALS": str(path), **PLACE})["veo"])
    # Then its header and claims are theirs but for the hour, and the signature holds
    header = jwt.decode_header(ours)  # type: ignore[no-untyped-call] # the same
    assert header == jwt.decode_header(theirs.token)  # type: ignore[no-untyped-call] # the same
    assert timeless(ours) == timeless(theirs.token)
    signed, _, signature = ours.rpartition(".")
    SIGNING_KEY.public_key().verify(
        urlsafe_b64decode(f"{signature}=="), signed.encode(), PKCS1v15(), SHA256()
    )


def timeless(token: str) -> dict[str, Any]:
    claims = dict(jwt.decode(token, verify=False))  # type: ignore[no-untyped-call] # the same
    assert claims.pop("exp") - claims.pop("iat") == LIVES
    return claims


def test_a_token_is_signed_anew_well_before_it_ends(tmp_path: Path) -> None:
    path = key_file(tmp_path)
    account = found({"GOOGLE_APPLICATION_CREDENTIALS": str(path), **PLACE})["veo"]
    moments = [NOW + step for step in range(0, 2 * LIVES, 60)]
    tokens = [bearer(account, now=moment) for moment in moments]
    assert len(set(tokens)) == 2 * LIVES // RENEWED
    for moment, token in zip(moments, tokens, strict=True):
        claims = jwt.decode(token, verify=False)  # type: ignore[no-untyped-call] # the same
        assert claims["iat"] <= moment < claims["exp"] - LIVES / 2


def test_the_key_is_nowhere_to_be_seen(tmp_path: Path) -> None:
    path = key_file(tmp_path)
    account = found({"GOOGLE_APPLICATION_CREDENTIALS": str(path), **PLACE})["veo"]
    assert "PRIVATE" not in repr(account)
    assert "token_uri" not in account.credentials["GOOGLE_APPLICATION_CREDENTIALS"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"type": "authorized_user"}, "must be the key file of a service account"),
        ({"client_email": None}, "must be the key file of a service account"),
        ({"private_key": "-----BEGIN PRIVATE KEY-----"}, "is not an RSA key"),
        ({"private_key": pem(ec.generate_private_key(ec.SECP256R1()))}, "is not an RSA key"),
    ],
)
def test_a_file_that_is_no_service_accounts_is_told_without_its_contents(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    path = key_file(tmp_path, **changes)
    with pytest.raises(SettingsError, match=words) as caught:
        found({"GOOGLE_APPLICATION_CREDENTIALS": str(path), **PLACE})
    assert str(caught.value).startswith("GOOGLE_APPLICATION_CREDENTIALS: ")
    assert "BEGIN" not in str(caught.value)


def test_a_file_that_is_not_there_or_not_json_is_told_by_its_variable(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("{not json", encoding="utf-8")
    for path, words in ((tmp_path / "none", "can't be read"), (text, "is not JSON")):
        with pytest.raises(SettingsError, match=f"GOOGLE_APPLICATION_CREDENTIALS.*{words}"):
            found({"GOOGLE_APPLICATION_CREDENTIALS": str(path), **PLACE})
