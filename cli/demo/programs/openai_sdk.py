"""Makes a video with OpenAI's SDK and saves it."""

import json
import os
import sys

try:
    import openai
except ImportError as error:
    print(json.dumps({"left_out": f"openai can't be imported: {error}"}))
    sys.exit()

client = openai.OpenAI(base_url=os.environ["BASE_URL"], api_key=os.environ["API_KEY"], timeout=30)
video = client.videos.create_and_poll(
    model="sora-2", prompt=os.environ["PROMPT"], seconds="4", size="1280x720"
)
if video.status != "completed":
    sys.exit(f"{video.id} is {video.status}: {video.error}")
client.videos.download_content(video.id).write_to_file(os.environ["VIDEO_FILE"])
print(json.dumps({"client": f"openai {openai.__version__}"}))
