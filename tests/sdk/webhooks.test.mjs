// Deliveries that the reference library of Standard Webhooks signs and OpenAI's own SDK accepts, sent to the real binary.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, describe, test } from 'node:test';

import OpenAI from 'openai';
import { Webhook } from 'standardwebhooks';

import { startWorld } from './service.mjs';

const secrets = [newSecret(), newSecret()];
const [secret, former] = secrets;
let world;
let alice;

before(async () => {
  world = await startWorld({
    env: { OPENAI_WEBHOOK_SECRET: secret, FORMER_WEBHOOK_SECRET: former },
    more: `
[webhooks.openai]
secret = "env://OPENAI_WEBHOOK_SECRET"
previous_secret = "env://FORMER_WEBHOOK_SECRET"
`,
  });
  alice = await world.issuer.signIn('alice');
});
after(() => world?.stop());

describe("OpenAI's webhook", () => {
  test('whom it names in a delivery is blocked', async () => {
    assert.equal(await mint(), 200);
    const user = world.upstream.mints.at(-1).headers['openai-safety-identifier'];
    const delivery = sign(blocked('evt_1', user), { id: 'wh_1' });
    assert.equal((await unwrap(delivery)).data.safety_identifier, user);

    assert.equal(await deliver(delivery), 204);
    assert.equal(await mint(), 403);
  });

  test('the old secret is good beside the new one, another one is not', async () => {
    for (const [signer, status] of [[secret, 204], [former, 204], [newSecret(), 401]]) {
      assert.equal(await deliver(sign(blocked('evt_2', '0'.repeat(64)), { id: `wh_${status}_${secrets.indexOf(signer)}`, signer })), status);
    }
  });

  test("what OpenAI's SDK refuses is refused here too", async () => {
    const now = Date.now();
    const good = sign(blocked('evt_3', '1'.repeat(64)), { id: 'wh_3' });
    const changed = (headers, body = good.body) => ({ headers: { ...good.headers, ...headers }, body });
    for (const bad of [
      changed({}, good.body.replace('bio', 'bip')),
      changed({ 'webhook-id': 'wh_4' }),
      changed({ 'webhook-signature': good.headers['webhook-signature'].replace('v1,', 'v2,') }),
      sign(good.body, { id: 'wh_3', at: new Date(now - 310_000) }),
      sign(good.body, { id: 'wh_3', at: new Date(now + 310_000) }),
    ]) {
      await assert.rejects(unwrap(bad), OpenAI.InvalidWebhookSignatureError);
      assert.equal(await deliver(bad), 401);
    }
    assert.equal(await deliver(good), 204);
  });

  test('no secret is in what the service writes', async () => {
    const { stdout, stderr, audit } = await world.stop();
    for (const text of [stdout, stderr, audit]) {
      for (const hidden of secrets) assert.ok(!text.includes(hidden.slice('whsec_'.length)));
    }
    assert.match(audit, /"event":"block".*"author":"openai"/);
  });
});

function newSecret() {
  return `whsec_${randomBytes(32).toString('base64')}`;
}

function blocked(id, user) {
  const data = { safety_identifier: user, safety_category: 'bio', model: 'gpt-realtime-2.1', request_id: 'req_1' };
  return JSON.stringify({ id, object: 'event', created_at: Math.floor(Date.now() / 1000), type: 'safety_identifier.blocked', data });
}

function sign(body, { id, at = new Date(), signer = secret }) {
  const timestamp = String(Math.floor(at.getTime() / 1000));
  return { headers: { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': new Webhook(signer).sign(id, at, body) }, body };
}

function unwrap({ headers, body }) {
  return new OpenAI({ apiKey: 'none', webhookSecret: secret }).webhooks.unwrap(body, headers);
}

async function deliver({ headers, body }) {
  const answer = await fetch(`${world.baseURL}/webhooks/openai`, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body });
  return answer.status;
}

async function mint() {
  const answer = await fetch(`${world.baseURL}/realtime/client_secrets`, { method: 'POST', headers: { authorization: `Bearer ${alice.accessToken}` } });
  return answer.status;
}
