// Tokens that a real issuer bound to a key, with proofs that a client library not ours makes: nonces included.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import * as oauth from 'oauth4webapi';
import OpenAI from 'openai';

import { startWorld } from './service.mjs';

const CLIENT = {};
const PLAIN_HTTP = { [oauth.allowInsecureRequests]: true };
let world;
let mintUrl;

before(async () => {
  world = await startWorld({ more: '[identity.dpop]\nrequire_nonce = true' });
  mintUrl = new URL(`${world.baseURL}/realtime/client_secrets`);
});
after(() => world?.stop());

for (const algorithm of ['ES256', 'Ed25519']) {
  test(`a token bound to an ${algorithm} key mints with a proof, once the client has learnt the nonce`, async () => {
    const { accessToken, dpop, key } = await signIn(`alice.${algorithm}`, algorithm);
    assert.deepEqual(claims(accessToken).cnf, { jkt: await dpop.calculateThumbprint() });

    await assert.rejects(ask({ accessToken, dpop }), (error) => {
      assert.ok(oauth.isDPoPNonceError(error), `the library does not see a nonce error in ${error}`);
      assert.equal(error.response.status, 401);
      return true;
    });
    // The library has kept the nonce, and takes the next one from every answer.
    for (let mint = 0; mint < 3; mint += 1) {
      const answer = await ask({ accessToken, dpop });
      assert.equal(answer.status, 200);
      assert.match(answer.headers.get('dpop-nonce'), /^[\w-]{43}$/);
      assert.match((await answer.json()).value, /^ek_/);
    }

    const sessions = await oauth.protectedResourceRequest(accessToken, 'GET', new URL(`${world.baseURL}/sessions`), undefined, undefined, {
      DPoP: dpop,
      ...PLAIN_HTTP,
    });
    assert.equal((await sessions.json()).data.length, 3);

    // A new client with the same key has to learn it anew, and may.
    const restarted = oauth.DPoP(CLIENT, key);
    await assert.rejects(ask({ accessToken, dpop: restarted }), oauth.isDPoPNonceError);
    assert.equal((await ask({ accessToken, dpop: restarted })).status, 200);
  });
}

test('a stolen token is worth nothing without the key', async () => {
  const [{ accessToken }, thief] = [await signIn('alice', 'ES256'), await signIn('mallory', 'ES256')];
  const earlier = world.upstream.mints.length;
  await assert.rejects(ask(thief), oauth.isDPoPNonceError);
  await assert.rejects(ask({ accessToken, dpop: thief.dpop }), (error) => {
    assert.deepEqual(error.cause.map(({ scheme, parameters }) => [scheme, parameters.error]), [['dpop', 'invalid_dpop_proof']]);
    return true;
  });
  await assert.rejects(ask({ accessToken }), (error) => {
    assert.deepEqual(error.cause.map(({ scheme, parameters }) => [scheme, parameters.error]), [['dpop', 'invalid_token']]);
    return true;
  });
  await assert.rejects(
    new OpenAI({ apiKey: accessToken, baseURL: world.baseURL, maxRetries: 0 }).realtime.clientSecrets.create({}),
    OpenAI.AuthenticationError,
  );
  assert.equal(world.upstream.mints.length, earlier);
});

test('the official SDK mints with proofs through a fetch of its own', async () => {
  const { accessToken, dpop } = await signIn('alice', 'ES256');
  const client = new OpenAI({ apiKey: accessToken, baseURL: world.baseURL, maxRetries: 0, fetch: proving(accessToken, dpop) });
  assert.match((await client.realtime.clientSecrets.create({})).value, /^ek_/);

  const stranger = oauth.DPoP(CLIENT, await oauth.generateKeyPair('ES256'));
  const thief = new OpenAI({ apiKey: accessToken, baseURL: world.baseURL, maxRetries: 0, fetch: proving(accessToken, stranger) });
  await assert.rejects(thief.realtime.clientSecrets.create({}), OpenAI.AuthenticationError);
});

test('nothing that the service writes holds a token or the name of a user', async () => {
  const { stdout, stderr, audit } = await world.stop();
  assert.ok(audit.includes('"outcome":"minted"') && audit.includes('"outcome":"invalid_token"'));
  for (const [stream, text] of Object.entries({ stdout, stderr, audit })) {
    for (const token of tokens) assert.ok(!text.includes(token.split('.')[2]), `a token is in ${stream}`);
    assert.doesNotMatch(text, /alice|mallory|dpop\+jwt|eyJ/, `a user or a proof is in ${stream}`);
  }
});

const tokens = [];

async function signIn(user, algorithm) {
  const key = await oauth.generateKeyPair(algorithm);
  const dpop = oauth.DPoP(CLIENT, key);
  const { accessToken } = await world.issuer.signIn(user, { dpop });
  tokens.push(accessToken);
  return { accessToken, dpop, key };
}

function ask({ accessToken, dpop }) {
  return oauth.protectedResourceRequest(accessToken, 'POST', mintUrl, undefined, undefined, { DPoP: dpop, ...PLAIN_HTTP });
}

/** A fetch for the official SDK, as deploy/docs/identity-dpop.md has it. */
function proving(accessToken, dpop) {
  return async (url, { method, headers, body }) => {
    const others = new Headers(headers);
    others.delete('authorization');
    const send = () => oauth.protectedResourceRequest(accessToken, method.toUpperCase(), new URL(url), others, body, { DPoP: dpop, ...PLAIN_HTTP });
    try {
      return await send().catch((error) => (oauth.isDPoPNonceError(error) ? send() : Promise.reject(error)));
    } catch (error) {
      if (error.response) return error.response;
      throw error;
    }
  };
}

function claims(token) {
  return JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
}
