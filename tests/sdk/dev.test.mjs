// `ephemint dev` needs no key, no file and no issuer: a first client secret within seconds.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

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
