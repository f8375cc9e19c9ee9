// Makes all the calls at once, as a program with Layer's SDK does, and prints what each gave.
// Arguments: base address (it may end with a slash), key, a JSON array of payloads.
const [base, key, payloads] = process.argv.slice(2);

class Layer {
  async video(payload) {
    const response = await fetch(`${base}/v3/video`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${key}` },
      body: JSON.stringify(payload),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.message || answer.error);
    return answer;
  }
}

const layer = new Layer();
const calls = JSON.parse(payloads).map(async (payload) => {
  try {
    const response = await layer.video(payload);
    return {
      urls: response.videos.map((video) => video.url),
      duration: response.videos[0].duration,
      cost: response.cost.toFixed(4),
      perSecond: (response.cost / response.videos[0].duration).toFixed(4),
    };
  } catch (error) {
    return { thrown: error.message };
  }
});
console.log(JSON.stringify(await Promise.all(calls)));
