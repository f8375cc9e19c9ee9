"""A program for AI/ML API: it creates a generation and polls until its status is a last one."""

import json
import sys
import time

import requests

url, key, body, every = sys.argv[1:]
headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

created = requests.post(url, json=json.loads(body), headers=headers, timeout=30)
told = {"code": created.status_code, "generation": created.json(), "statuses": []}
if created.ok:
    status = None
    while status not in ("completed", "error"):
        time.sleep(float(every) / 1000)
        params = {"generation_id": created.json()["id"]}
        told["ended"] = requests.get(url, params=params, headers=headers, timeout=30).json()
        status = told["ended"]["status"]
        told["statuses"].append(status)
print(json.dumps(told))  # noqa: T201 - what its caller reads
