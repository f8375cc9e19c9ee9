"""Makes a video with LangChain's class for AI/ML API and saves it."""

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

try:
    import httpx
    from langchain_aimlapi import AimlapiVideoModel
except ImportError as error:
    print(json.dumps({"left_out": f"langchain-aimlapi can't be imported: {error}"}))
    sys.exit()

model = AimlapiVideoModel(
    base_url=os.environ["BASE_URL"], api_key=os.environ["API_KEY"], timeout=30
)
(url,) = model.generate_videos(os.environ["PROMPT"], poll_interval=1, timeout=120)
video = httpx.get(url, timeout=30, trust_env=False).raise_for_status()
Path(os.environ["VIDEO_FILE"]).write_bytes(video.content)
print(json.dumps({"client": f"langchain-aimlapi {version('langchain-aimlapi')}"}))
