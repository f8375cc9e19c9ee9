// A client of Imagineo's API after its document: none is published. It throws what the API refuses.
const BASE = process.env.IMAGINEO_BASE_URL;

export class ImagineoAIClient {
  constructor({ auth: { apiKey }, baseUrl = BASE }) {
    Object.assign(this, { apiKey, baseUrl });
  }

  generateVideo(payload) {
    return this.#asked("/v1/videos/generate", { method: "POST", body: JSON.stringify(payload) });
  }

  getRunStatus(run) {
    return this.#asked(`/v1/runs/${run}`, {});
  }

  async #asked(path, options) {
    const headers = { Authorization: `Bearer ${this.apiKey}`, "Content-Type": "application/json" };
    const response = await fetch(this.baseUrl + path, { ...options, headers });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error.message);
    return answer;
  }
}
