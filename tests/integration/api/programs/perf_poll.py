"""A program for Perf's video API: it submits a prompt and polls until the video is there."""

import json
import sys
import time
from typing import Any

import requests

base, key, options, every = sys.argv[1:]
headers = {"Authorization": f"Bearer {key}"}


def generate(**body: Any) -> Any:
    response = requests.post(
        f"{base}/v1/video/generations",
        headers={**headers, "Content-Type": "application/json"},
        json=body,
        timeout=30,
    )
    job = response.json()["id"]
    while True:
        answered = requests.get(f"{base}/v1/video/generations/{job}", headers=headers, timeout=30)
        status = answered.json()
        if status["status"] == "complete":
            return status
        if status["status"] == "failed":
            return {"thrown": status.get("error_message", "Video generation failed")}
        time.sleep(float(every) / 1000)


print(json.dumps(generate(**json.loads(options))))  # noqa: T201 - what its caller reads
