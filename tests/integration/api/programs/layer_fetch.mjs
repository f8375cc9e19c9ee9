// Sends one request of Layer's API as its SDK does, and tells as lines of JSON what comes when.
// Arguments: base address, key, body, milliseconds that fetch waits for headers, milliseconds
// after which it says "later".
const [base, key, body, headersTimeout, later] = process.argv.slice(2);
const tell = (what) => console.log(JSON.stringify(what));

// Node's own fetch, with a dispatcher like its own but for the timeout.
await fetch("data:,").then((response) => response.text());
const { constructor: Agent } = globalThis[Symbol.for("undici.globalDispatcher.1")];
const dispatcher = new Agent({ headersTimeout: Number(headersTimeout) });

const timer = setTimeout(() => tell({ later: true }), Number(later));
try {
  const response = await fetch(`${base}/v3/video`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${key}` },
    body,
    dispatcher,
  });
  tell({ status: response.status, job: response.headers.get("x-job-id") });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.message || answer.error);
  tell({ answer });
} catch (error) {
  tell({ thrown: error.message, cause: error.cause?.code ?? null });
} finally {
  clearTimeout(timer);
}
