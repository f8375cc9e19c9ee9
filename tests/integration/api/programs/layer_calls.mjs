// Makes all the calls at once, as a program with Layer's SDK does, and prints what each gave.
// Arguments: base address (it may end with a slash), key, a JSON array of payloads.
import { Layer } from "./layer_client.mjs";

const [baseUrl, apiKey, payloads] = process.argv.slice(2);
const layer = new Layer({ apiKey, baseUrl });
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
