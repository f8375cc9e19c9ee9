"""Brings a picture to life as Imagineo's document describes it, and saves the video."""

import json
import os
import sys
import time
from pathlib import Path

import httpx

address = f"{os.environ['BASE_URL']}/v1"
key = {"X-API-Key": os.environ["API_KEY"]}
wanted = {"prompt": os.environ["PROMPT"], "image_url": os.environ["PICTURE"], "duration": 4}
with httpx.Client(timeout=30, trust_env=False) as http:
    run = http.post(f"{address}/videos/generate", headers=key, json=wanted)
    run_id = run.raise_for_status().json()["run_id"]
    for _ in range(240):
        found = http.get(f"{address}/runs/{run_id}", headers=key).raise_for_status().json()
        if found["status"] in {"completed", "failed"}:
            break
        time.sleep(0.5)
    if found["status"] != "completed":
        sys.exit(f"{run_id} is {found['status']}: {found.get('error')}")
    video = http.get(found["video_url"]).raise_for_status()
Path(os.environ["VIDEO_FILE"]).write_bytes(video.content)
print(json.dumps({"client": "Python"}))
