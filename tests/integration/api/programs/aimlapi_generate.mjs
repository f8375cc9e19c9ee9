// A program for AI/ML API: it creates a generation and polls until its status is a last one.
const [address, key, body, every] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' };

const created = await fetch(address, { method: 'POST', headers, body });
const generation = await created.json();
const told = { code: created.status, generation, statuses: [] };
while (created.ok && !['completed', 'error'].includes(told.ended?.status)) {
  await new Promise((resolve) => setTimeout(resolve, Number(every)));
  const url = new URL(address);
  url.searchParams.set('generation_id', generation.id);
  told.ended = await fetch(url, { method: 'GET', headers }).then((res) => res.json());
  told.statuses.push(told.ended.status);
}
console.log(JSON.stringify(told));
