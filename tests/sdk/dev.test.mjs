// `ephemint dev` needs no key, no file and no issuer: a first client secret within seconds.
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, test } from 'node:test';

import OpenAI from 'openai';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';

import { startSdks } from './sdk.mjs';
import { startDev } from './service.mjs';

const sdks = startSdks();
const secrets = [];
let dev;

before(async () => { dev = await startDev(); });
after(() => {
  sdks.forEach((sdk) => sdk.stop());
  return dev?.stop();
});

for (const sdk of sdks) {
  test(`a development user gets a client secret with ${sdk.name}`, async () => {
    const asked = Math.floor(Date.now() / 1000);
    const minted = await sdk.mint(dev.baseURL, await devToken('alice'));

    assert.match(minted.value ?? JSON.stringify(minted), /^ek_/);
    secrets.push(minted.value);
    const answered = Math.ceil(Date.now() / 1000);
    assert.ok(minted.expires_at >= asked + 60 && minted.expires_at <= answered + 600, `expires_at ${minted.expires_at}, asked at ${asked}`);
    assert.equal(minted.session.type, 'realtime');
  });

  test(`a token that development sign-in did not give is refused with ${sdk.name}`, async () => {
    const { raised, code } = await sdk.mint(dev.baseURL, `${await devToken('alice')}x`);
    assert.deepEqual({ raised, code }, { raised: 'AuthenticationError', code: 'invalid_token' });
  });
}

test('the Node SDK speaks over WebSocket with a client secret that Ephemint minted', { timeout: 60_000 }, async () => {
  const minted = await sdks[0].mint(dev.baseURL, await devToken('bob'));
  secrets.push(minted.value);
  const sandbox = new URL(minted.ephemint.calls_url);
  const baseURL = sandbox.href.replace(/\/realtime\/calls$/, '');

  // The SDK insists on wss://; the simulated upstream is plain.
  const options = { createConnection: () => connect(Number(sandbox.port), sandbox.hostname) };
  const client = new OpenAI({ apiKey: minted.value, baseURL });
  const realtime = new OpenAIRealtimeWS({ model: minted.session.model, options }, client);
  const events = [];
  realtime.on('event', (event) => events.push(event));
  const seen = (type) => new Promise((resolve, reject) => {
    realtime.on(type, resolve);
    realtime.on('error', reject);
    realtime.socket.on('close', () => reject(new Error(`closed before ${type}`)));
  });

  const created = await seen('session.created');
  assert.equal(created.session.instructions, 'You are a friendly voice assistant. Keep answers short.', 'the profile decides');
  const done = seen('response.done');
  const content = [{ type: 'input_text', text: 'Hello' }];
  realtime.send({ type: 'conversation.item.create', item: { type: 'message', role: 'user', content } });
  realtime.send({ type: 'response.create' });
  const { response } = await done;
  assert.equal(response.status, 'completed');
  assert.ok(response.usage.output_token_details.audio_tokens > 0, JSON.stringify(response.usage));

  const of = (type) => events.filter((event) => event.type === type).map((event) => event.delta);
  const audio = Buffer.concat(of('response.output_audio.delta').map((delta) => Buffer.from(delta, 'base64')));
  const samples = new Int16Array(audio.buffer, audio.byteOffset, audio.length / 2);
  assert.ok(samples.length > 24_000, 'more than a second');
  assert.ok(samples.some((sample) => Math.abs(sample) > 1000), 'and not silence');
  assert.equal(of('response.output_audio_transcript.delta').join(''), response.output[0].content[0].transcript);
  realtime.close();
});

test('nothing that is printed holds a secret', () => {
  for (const secret of secrets) assert.ok(!JSON.stringify(dev.output).includes(secret), 'a secret was printed');
});

async function devToken(user) {
  const response = await fetch(`${dev.url}/dev/token`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ user }),
  });
  const { access_token: token } = await response.json();
  secrets.push(token, token.split('.')[2]);
  return token;
}
