// Makes a video with one open call, as Layer's SDK does, and saves it.
import { writeFileSync } from "node:fs";

const { BASE_URL, API_KEY, GATE, PROMPT, VIDEO_FILE } = process.env;

async function main() {
  const response = await fetch(`${BASE_URL}/v3/video`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${API_KEY}` },
    body: JSON.stringify({ gateId: GATE, data: { prompt: PROMPT, duration: 4 } }),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message || answer.error);
  const video = await fetch(answer.videos[0].url);
  if (!video.ok) throw new Error(`the video's address answered ${video.status}`);
  writeFileSync(VIDEO_FILE, Buffer.from(await video.arrayBuffer()));
  console.log(JSON.stringify({ client: `Node ${process.versions.node}` }));
}

if (typeof fetch === "undefined") {
  console.log(JSON.stringify({ left_out: `Node ${process.versions.node} has no fetch; 18 has` }));
} else {
  await main();
}
