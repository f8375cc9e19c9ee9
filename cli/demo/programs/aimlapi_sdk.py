"""Makes a video with AI/ML API's SDK and saves it."""

import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

try:
    from aimlapi import AIMLAPI
except ImportError as error:
    print(json.dumps({"left_out": f"aimlapi-sdk-python can't be imported: {error}"}))
    sys.exit()

client = AIMLAPI(base_url=os.environ["BASE_URL"], api_key=os.environ["API_KEY"], timeout=30)
video = client.videos.generate_with_polling(
    model="google/veo-3.1-t2v",
    prompt=os.environ["PROMPT"],
    duration=4,
    poll_interval=1,
    poll_timeout=120,
    return_bytes=True,
)
Path(os.environ["VIDEO_FILE"]).write_bytes(video)
print(json.dumps({"client": f"aimlapi-sdk-python {version('aimlapi-sdk-python')}"}))
