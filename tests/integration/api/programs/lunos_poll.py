"""A program for Lunos' video API: it starts a generation and asks until the video is there."""

import json
import sys
import time

import requests

base, key, body, every = sys.argv[1:]
headers = {"Authorization": f"Bearer {key}", "X-App-ID": "a-program"}
started = requests.post(
    f"{base}/v1/video/generations",
    headers={**headers, "Content-Type": "application/json"},
    json=json.loads(body),
    timeout=30,
)
operation = started.json()
ended = None
while started.ok:
    address = f"{base}/v1/video/generations/{operation['id']}"
    ended = requests.get(address, headers=headers, timeout=30).json()
    if ended["status"] in {"completed", "failed"}:
        break
    time.sleep(float(every) / 1000)

told = {"code": started.status_code, "operation": operation, "ended": ended}
print(json.dumps(told))  # noqa: T201 - what its caller reads
