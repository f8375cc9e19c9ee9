"""Makes a video as the programs of Perf's document do, and saves it."""

import json
import os
import sys
import time
from pathlib import Path

import httpx

address = f"{os.environ['BASE_URL']}/v1/video/generations"
key = {"Authorization": f"Bearer {os.environ['API_KEY']}"}
wanted = {"prompt": os.environ["PROMPT"], "model": "runway-gen3", "duration_seconds": 4}
with httpx.Client(timeout=30, trust_env=False) as http:
    job = http.post(address, headers=key, json=wanted).raise_for_status().json()
    for _ in range(240):
        job = http.get(f"{address}/{job['id']}", headers=key).raise_for_status().json()
        if job["status"] in {"complete", "failed"}:
            break
        time.sleep(0.5)
    if job["status"] != "complete":
        sys.exit(f"{job['id']} is {job['status']}: {job.get('error_message')}")
    video = http.get(job["video_url"]).raise_for_status()
Path(os.environ["VIDEO_FILE"]).write_bytes(video.content)
print(json.dumps({"client": "Python"}))
