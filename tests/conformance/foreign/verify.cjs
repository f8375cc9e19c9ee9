// Runs with webhook packages of npm: tells of each delivery on stdin whether the package verifies it.
const { readFileSync } = require("node:fs");

const { package: name, secret, deliveries } = JSON.parse(readFileSync(0, "utf-8"));
const { Webhook, WebhookVerificationError } = require(name);
const webhook = new Webhook(secret);

function verified({ body, headers }) {
  try {
    webhook.verify(body, headers);
    return true;
  } catch (error) {
    if (!(error instanceof WebhookVerificationError)) {
      throw error;
    }
    return false;
  }
}

process.stdout.write(JSON.stringify(deliveries.map(verified)));
