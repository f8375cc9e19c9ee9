// Runs with a client's own packages: makes the calls told on stdin, and tells what became of each.
// JUDGE_BASE_URL and JUDGE_API_KEY say where, and as whom; NODE_PATH has the client.
const { readFileSync } = require("node:fs");

async function called(client, { method, arguments: given }) {
  const [service, verb] = method.split(".");
  try {
    return { value: await client[service][verb](...given) };
  } catch (error) {
    const raised = [];
    for (let kind = error.constructor; kind.name; kind = Object.getPrototypeOf(kind)) {
      raised.push(kind.name);
    }
    const { status, message, details } = error;
    return { raised, status, message, details };
  }
}

async function main() {
  const { module, kind, settings, calls } = JSON.parse(readFileSync(0, "utf-8"));
  const client = new (require(module)[kind])({
    baseUrl: process.env.JUDGE_BASE_URL,
    apiKey: process.env.JUDGE_API_KEY,
    ...settings,
  });
  const outcomes = [];
  for (const call of calls) {
    outcomes.push(await called(client, call));
  }
  process.stdout.write(JSON.stringify(outcomes));
}

main();
