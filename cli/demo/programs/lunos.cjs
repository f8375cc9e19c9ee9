// Makes a video with Lunos' client and saves it.
const { readFileSync, writeFileSync } = require("node:fs");
const { dirname, join } = require("node:path");

const { BASE_URL, API_KEY, PROMPT, VIDEO_FILE } = process.env;

function loaded() {
  try {
    return require("@lunos/client");
  } catch (error) {
    console.log(JSON.stringify({ left_out: `@lunos/client can't be loaded: ${error.code}` }));
    return null;
  }
}

/** The package's version, from the nearest package.json above the file that is loaded. */
function version() {
  for (let place = require.resolve("@lunos/client"); place !== dirname(place); place = dirname(place)) {
    try {
      const { name, version } = JSON.parse(readFileSync(join(dirname(place), "package.json"), "utf-8"));
      if (name === "@lunos/client") return version;
    } catch {
      // not in this folder
    }
  }
  return "";
}

async function main({ LunosClient }) {
  const client = new LunosClient({ baseUrl: BASE_URL, apiKey: API_KEY, appId: "films" });
  const made = await client.video.generateAndWait({ prompt: PROMPT }, 1000, 120000);
  const video = await fetch(made.video_url);
  if (!video.ok) throw new Error(`the video's address answered ${video.status}`);
  writeFileSync(VIDEO_FILE, Buffer.from(await video.arrayBuffer()));
  console.log(JSON.stringify({ client: `@lunos/client ${version()}` }));
}

const client = loaded();
if (client) main(client);
