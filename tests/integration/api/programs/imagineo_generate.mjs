// A program for Imagineo's API: it begins a run and asks for its status until it has ended.
// Arguments: base address, key, payload, milliseconds between two questions.
import { ImagineoAIClient } from "./imagineo_client.mjs";

const [baseUrl, apiKey, payload, every] = process.argv.slice(2);
const client = new ImagineoAIClient({ auth: { apiKey }, baseUrl });
try {
  const begun = await client.generateVideo(JSON.parse(payload));
  let ended = begun;
  while (!["completed", "failed"].includes(ended.status)) {
    await new Promise((resolve) => setTimeout(resolve, Number(every)));
    ended = await client.getRunStatus(begun.run_id);
  }
  console.log(JSON.stringify({ begun, ended }));
} catch (error) {
  console.log(JSON.stringify({ thrown: error.message }));
}
