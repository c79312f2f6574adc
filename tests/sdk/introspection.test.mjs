// A user of a real OpenID provider that hands out opaque tokens: Ephemint asks it what they are worth (RFC 7662).
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { AUDIENCE, RESOURCE_SERVERS } from './issuer.mjs';
import { startWorld } from './service.mjs';

const PATIENCE_MS = 10_000;

for (const { client_id: id, client_secret: secret, token_endpoint_auth_method: method } of RESOURCE_SERVERS) {
  describe(`a client that proves itself by ${method}`, () => {
    const secrets = [secret];
    let world;
    let alice;

    before(async () => {
      world = await startWorld({
        env: { INTROSPECTION_SECRET: secret },
        identity: (issuer) => `
[identity.introspection.opaque]
endpoint = "${issuer}/token/introspection"
client_id = "${id}"
client_secret = "env://INTROSPECTION_SECRET"
client_auth = "${method.replace('client_secret_', '')}"
issuer = "${issuer}"
audience = ["${AUDIENCE}"]
required_scopes = ["talk"]
cache_seconds = 1
negative_cache_seconds = 1
`,
      });
      alice = await signIn('alice', { offline: true });
    });
    after(() => world?.stop());

    async function signIn(user, wish) {
      const tokens = await world.issuer.signIn(user, { algorithm: 'opaque', ...wish });
      secrets.push(tokens.accessToken, tokens.idToken);
      return tokens;
    }

    async function mint(token) {
      const answer = await fetch(`${world.baseURL}/realtime/client_secrets`, { method: 'POST', headers: { authorization: `Bearer ${token}` } });
      return { status: answer.status, ...await answer.json() };
    }

    async function expectRefused(token, code = 'invalid_token') {
      const earlier = world.upstream.mints.length;
      const { status, code: answered } = await mint(token);
      assert.deepEqual({ status, code: answered }, { status: 401, code });
      assert.equal(world.upstream.mints.length, earlier, 'a refused ask reached OpenAI');
    }

    test('the opaque token of a signed-in user is turned into a client secret', async () => {
      assert.doesNotMatch(alice.accessToken, /\./);
      const { status, value } = await mint(alice.accessToken);
      assert.equal(status, 200);
      assert.match(value, /^ek_/);
    });

    test('two users are two, and one user with two tokens is one', async () => {
      const [again, bob] = [await signIn('alice'), await signIn('bob')];
      for (const { accessToken } of [alice, again, bob]) assert.equal((await mint(accessToken)).status, 200);
      const [first, second, third] = world.upstream.mints.slice(-3).map(({ headers }) => headers['openai-safety-identifier']);
      assert.equal(first, second);
      assert.notEqual(first, third);
    });

    test('a token that nobody gave out is refused', async () => {
      await expectRefused(`${alice.accessToken.slice(0, -1)}${alice.accessToken.endsWith('A') ? 'B' : 'A'}`);
      await expectRefused('x'.repeat(43));
    });

    test('a refresh token is active at the issuer and refused all the same', async () => {
      secrets.push(alice.refreshToken);
      await expectRefused(alice.refreshToken);
    });

    test('an ID token is refused', () => expectRefused(alice.idToken));

    test('a token that has run out is refused', async () => {
      const { accessToken } = await signIn('alice', { seconds: 2 });
      assert.equal((await mint(accessToken)).status, 200);
      await sleep(3000);
      const { status, code } = await mint(accessToken);
      assert.equal(status, 401);
      assert.match(code, /^(token_expired|invalid_token)$/);
    });

    test('a revoked token is refused once the answer is forgotten', async () => {
      const { accessToken } = await signIn('alice');
      assert.equal((await mint(accessToken)).status, 200);
      await world.issuer.revoke(accessToken);
      let status = 200;
      for (const deadline = Date.now() + PATIENCE_MS; status === 200 && Date.now() < deadline; await sleep(100)) {
        ({ status } = await mint(accessToken));
      }
      await expectRefused(accessToken);
    });

    test('nothing that the service writes holds a token, the client secret or the name of a user', async () => {
      const { stdout, stderr, audit } = await world.stop();
      const encoded = [secret, encodeURIComponent(secret), new URLSearchParams({ s: secret }).toString().slice(2)];
      for (const [stream, text] of Object.entries({ stdout, stderr, audit })) {
        for (const hidden of [...secrets, ...encoded]) assert.ok(!text.includes(hidden), `a secret is in ${stream}`);
        assert.doesNotMatch(text, /alice|bob/, `a user is named in ${stream}`);
      }
      assert.ok(audit.includes('"identity":"introspection.opaque"'));
    });
  });
}
