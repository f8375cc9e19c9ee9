"""What our server signs is verified by the webhook packages of npm, and what was changed is not."""

import base64
import json
import subprocess
import time

import pytest

from longtake import verify
from tests.conformance.driving import CALL, LUNOS_CLIENT, SOON, node, present
from webhooks import signing

SECRET = "a shared secret, in plain words"
WHSEC = "whsec_" + base64.b64encode(SECRET.encode()).decode()
BODY = '{"type":"video.completed","timestamp":"2026-11-22T01:02:03Z","data":{"prompt":"星"}}'


@pytest.mark.parametrize("package", ["standardwebhooks", "svix"])
@pytest.mark.parametrize("secret", [SECRET, WHSEC], ids=["text", "whsec"])
def test_a_package_of_npm_verifies_what_we_sign(package: str, secret: str) -> None:
    at = int(time.time())

    def signed(age: int = 0, by: str = secret) -> dict[str, str]:
        return signing.headers(by, message_id="evt_01", timestamp=at - age, body=BODY.encode())

    deliveries = [
        {"body": BODY, "headers": signed()},
        {"body": BODY + " ", "headers": signed()},
        {"body": BODY, "headers": signed() | {"webhook-id": "evt_02"}},
        {"body": BODY, "headers": signed(age=3600)},
        {"body": BODY, "headers": signed(by="whoever")},
    ]
    modules = present(LUNOS_CLIENT.home / "node_modules")
    present(modules / package)

    ended = subprocess.run(
        [node(), CALL.with_name("verify.cjs")],
        input=json.dumps({"package": package, "secret": WHSEC, "deliveries": deliveries}),
        env={"NODE_PATH": str(modules)},
        capture_output=True,
        encoding="utf-8",
        timeout=SOON,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == [True, False, False, False, False]
    assert verify(BODY.encode(), signed(), secret).id == "evt_01"
