// A program for Lunos' video API: it starts a generation and asks until the video is there.
const [base, key, body, every] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${key}`, 'X-App-ID': 'a-program' };

const started = await fetch(`${base}/v1/video/generations`, {
  method: 'POST',
  headers: { ...headers, 'Content-Type': 'application/json' },
  body,
});
const operation = await started.json();

async function ended() {
  for (;;) {
    const asked = await fetch(`${base}/v1/video/generations/${operation.id}`, { headers });
    const shown = await asked.json();
    if (shown.status === 'completed' || shown.status === 'failed') return shown;
    await new Promise((resolve) => setTimeout(resolve, Number(every)));
  }
}

console.log(JSON.stringify({ code: started.status, operation, ended: started.ok ? await ended() : null }));
