// A client of Layer's API that sends what its SDK sends, and throws as it does.
export class Layer {
  constructor({ apiKey, baseUrl }) {
    Object.assign(this, { apiKey, baseUrl });
  }

  async video(payload) {
    const response = await fetch(`${this.baseUrl}/v3/video`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${this.apiKey}` },
      body: JSON.stringify(payload),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.message || answer.error);
    return answer;
  }
}
