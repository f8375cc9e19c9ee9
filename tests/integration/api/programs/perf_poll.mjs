// A program for Perf's video API: it submits a prompt and polls until the video is there.
const [base, key, options, every] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${key}` };

async function generate(prompt, more) {
  const submitted = await fetch(`${base}/v1/video/generations`, {
    method: 'POST',
    headers: { ...headers, 'Content-Type': 'application/json' },
    body: JSON.stringify({ prompt, ...more }),
  });
  const job = await submitted.json();
  for (;;) {
    const answered = await fetch(`${base}/v1/video/generations/${job.id}`, { headers });
    const status = await answered.json();
    if (status.status === 'complete') return status;
    if (status.status === 'failed') throw new Error(status.error_message);
    await new Promise((resolve) => setTimeout(resolve, Number(every)));
  }
}

const { prompt, ...more } = JSON.parse(options);
try {
  console.log(JSON.stringify(await generate(prompt, more)));
} catch (error) {
  console.log(JSON.stringify({ thrown: error.message }));
}
