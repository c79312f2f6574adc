// What callers see when something is refused or breaks, and how they get on.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { heard, startBrowser, until } from './browser.mjs';
import { hangUp, line, signIn, startCall, state } from './demo.mjs';
import { startDev } from './service.mjs';
import { BROWSER, PROVIDER, SERVICE } from '../../web-demo/page/refusals.js';

let browser;
let dev;

before(async () => { [browser, dev] = await Promise.all([startBrowser(), startDev()]); });
after(async () => {
  await browser?.stop();
  await dev?.stop();
});

const MINT = '**/v1/realtime/client_secrets*';
const CALLS = '**/v1/realtime/calls*';

test('a refused microphone is explained, and the caller can listen and type instead', async () => {
  await browser.visit({ microphone: false }, async (page) => {
    await signIn(page, dev.url);
    await startCall(page);
    await problem(page, 'The microphone is blocked');
    await page.getByRole('button', { name: 'Listen and type' }).click();
    await state(page, 'connected');
    await line(page, 'Assistant');
    await until('a sound', async () => (await heard(page)).energy > 0);
    assert.equal(await page.getByRole('button', { name: 'Mute' }).isDisabled(), true);
    await hangUp(page);
  });
});

test('a secret that was minted in vain is given back', async () => {
  await browser.visit({ microphone: false }, async (page) => {
    await signIn(page, dev.url);
    const ended = page.waitForResponse((response) => response.request().method() === 'DELETE');
    await startCall(page);
    await problem(page, 'The microphone is blocked');
    assert.equal((await ended).status(), 204);
  });
});

test('a secret that the realtime API does not know is replaced once', async () => {
  await browser.visit({ errors: [/401/] }, async (page, { secrets }) => {
    await signIn(page, dev.url);
    await page.route(CALLS, (route) => route.continue({ headers: { ...route.request().headers(), authorization: 'Bearer ek_unknown' } }), { times: 1 });
    await startCall(page);
    await state(page, 'connected');
    assert.equal([...secrets].filter((secret) => secret.startsWith('ek_')).length, 2);
    await hangUp(page);
  });
});

test('a second refused secret ends the attempt and says so', async () => {
  await browser.visit({ errors: [/401/] }, async (page, { secrets }) => {
    await signIn(page, dev.url);
    await page.route(CALLS, (route) => route.continue({ headers: { ...route.request().headers(), authorization: 'Bearer ek_unknown' } }));
    await startCall(page);
    await problem(page, 'The realtime API refuses the secret');
    assert.equal([...secrets].filter((secret) => secret.startsWith('ek_')).length, 2);
  });
});

test('an expired sign-in is renewed once without the caller noticing', async () => {
  await browser.visit({ errors: [/401/] }, async (page, seen) => {
    await signIn(page, dev.url);
    await page.route(MINT, (route) => route.fulfill(refusal(401, 'token_expired')), { times: 1 });
    await startCall(page);
    await state(page, 'connected');
    const asked = seen.requests.filter((request) => request.url().includes('client_secrets') && request.method() === 'POST');
    assert.equal(asked.length, 2);
    assert.equal(asked[0].headers()['idempotency-key'], asked[1].headers()['idempotency-key']);
    assert.equal(seen.requests.filter((request) => request.url().endsWith('/dev/token')).length, 2);
    await hangUp(page);
  });
});

test('a limit that passes within seconds is waited for', async () => {
  await browser.visit({ errors: [/429/] }, async (page, seen) => {
    await signIn(page, dev.url);
    await page.route(MINT, (route) => route.fulfill(refusal(429, 'rate_limited', 1)), { times: 1 });
    await startCall(page);
    await state(page, 'connected');
    const keys = seen.requests.filter((request) => request.url().includes('client_secrets') && request.method() === 'POST')
      .map((request) => request.headers()['idempotency-key']);
    assert.equal(keys.length, 2);
    assert.equal(new Set(keys).size, 1);
    await hangUp(page);
  });
});

test('the limit of a profile is explained and counted down, holds for one user only, and passes', async () => {
  await browser.visit({ errors: [/429/] }, async (page, seen) => {
    await signIn(page, dev.url, 'bob');
    for (let call = 0; call < 2; call += 1) {
      await startCall(page, { Profile: 'limited' });
      await state(page, 'connected');
      await hangUp(page);
      await state(page, 'closed');
    }
    const refused = page.waitForResponse((response) => response.status() === 429);
    await startCall(page);
    const retryAfter = Number((await refused).headers()['retry-after']);
    assert.ok(retryAfter > 10 && retryAfter <= 30, `Retry-After: ${retryAfter}`);
    await problem(page, 'Too many calls in a short time');
    const button = page.locator('#problem-again');
    assert.equal(await button.isDisabled(), true);
    const left = async () => Number((await button.textContent()).match(/^Try again in (\d+) s$/)[1]);
    const first = await left();
    assert.ok(first <= retryAfter && first >= retryAfter - 2, `${first} of ${retryAfter} s`);
    await until('the countdown', async () => (await left()) < first);
    await page.getByText('What the other side said').click();
    assert.equal(await page.locator('#problem-request').textContent(), (await refused).headers()['x-request-id']);
    const minted = () => seen.requests.filter((request) => request.url().includes('client_secrets') && request.method() === 'POST').length;
    assert.equal(minted(), 3, 'a limit this long is not tried again unasked');

    await browser.visit({}, async (other) => {
      await signIn(other, dev.url, 'alice');
      await startCall(other, { Profile: 'limited' });
      await state(other, 'connected');
      await hangUp(other);
    });

    await until('the button', () => button.isEnabled(), retryAfter * 1000 + 5_000);
    await button.click();
    await state(page, 'connected');
    await hangUp(page);
  });
});

for (const [scenario, status, title] of [
  ['rate_limited', 429, 'The provider is limiting requests'],
  ['quota_exhausted', 429, 'The provider account has no budget left'],
  ['server_error', 500, 'The provider has a fault'],
]) {
  test(`the simulated failure ${scenario} is explained and leaves nothing running`, async () => {
    await browser.visit({ errors: [new RegExp(status)] }, async (page) => {
      await signIn(page, dev.url);
      const ended = page.waitForResponse((response) => response.request().method() === 'DELETE');
      await startCall(page, { Simulate: scenario });
      await problem(page, title);
      await state(page, 'closed');
      assert.equal((await ended).status(), 204);
      await startCall(page, { Simulate: 'happy' });
      await state(page, 'connected');
      await hangUp(page);
    });
  });
}

test('a slow provider is waited for', async () => {
  await browser.visit({}, async (page) => {
    await signIn(page, dev.url);
    await startCall(page, { Simulate: 'slow' });
    await state(page, 'connecting');
    await state(page, 'connected');
    await line(page, 'Assistant');
    await hangUp(page);
  });
});

test('a call that breaks is opened again with a fresh secret', async () => {
  await browser.visit({}, async (page, { secrets }) => {
    await signIn(page, dev.url);
    await startCall(page, { Simulate: 'drops_mid_call' });
    await state(page, 'connected');
    await state(page, 'reconnecting', 40_000);
    await state(page, 'connected');
    await page.locator('.note', { hasText: 'Connected again with a fresh secret' }).waitFor();
    assert.equal([...secrets].filter((secret) => secret.startsWith('ek_')).length, 2);
    await until('packets on the new connection', async () => (await heard(page)).packets > 10);
    const steps = await page.locator('#steps li:visible').evaluateAll((items) => items.map((item) => [item.innerText.split('\n')[0], item.className]));
    assert.deepEqual(steps, [['Secret minted', 'done'], ['Call answered', 'done']], 'a step that this connection never reaches');
    await hangUp(page);
  });
});

test('an assistant that hangs up ends the call, and the page does not call again', async () => {
  await browser.visit({}, async (page, { secrets }) => {
    await signIn(page, dev.url);
    await startCall(page, { Simulate: 'hangs_up' });
    await state(page, 'connected');
    await state(page, 'closed', 30_000);
    assert.match(await page.locator('#state-hint').textContent(), /assistant hung up/);
    assert.equal([...secrets].filter((secret) => secret.startsWith('ek_')).length, 1);
    assert.equal(await page.locator('#problem').isVisible(), false);
  });
});

test('a service that has gone away is explained', async () => {
  await browser.visit({ errors: [/ERR_FAILED/] }, async (page) => {
    await signIn(page, dev.url);
    await page.route(MINT, (route) => route.abort());
    await startCall(page);
    await problem(page, 'The service cannot be reached');
  });
});

test('hanging up while the call is being opened ends everything', async () => {
  await browser.visit({}, async (page) => {
    await signIn(page, dev.url);
    await startCall(page, { Simulate: 'slow' });
    await state(page, 'connecting');
    await hangUp(page);
    await state(page, 'closed');
    assert.equal(await page.locator('#problem').isVisible(), false);
    await startCall(page, { Simulate: 'happy' });
    await state(page, 'connected');
    await hangUp(page);
  });
});

test('every refusal code that the service documents is shown with a sentence, a cure and a way on', async () => {
  const { info } = await (await fetch(`${dev.url}/openapi.json`)).json();
  const documented = [...info.description.matchAll(/^\| (\d{3}) \| `([a-z_]+)` \|/gm)].map(([, status, code]) => ({ status: Number(status), code }));
  assert.ok(documented.length > 30, `${documented.length} codes`);
  assert.deepEqual(documented.filter(({ code }) => !SERVICE[code]), [], 'codes without a sentence');
  const buttons = { retry: ['Try again'], wait: [/^Try again in (19|20) s$/], choose: ['Try again'], sign_in: ['Sign in again'], operator: ['Copy for the operator'] };
  await browser.visit({ errors: [/status of [45]\d\d/] }, async (page) => {
    await signIn(page, dev.url);
    let refused;
    await page.route(MINT, (route) => route.fulfill(refused));
    for (const { status, code } of documented) {
      refused = refusal(status, code, [429, 503].includes(status) ? 20 : undefined);
      await startCall(page);
      const { title, advice, action } = SERVICE[code];
      await problem(page, title);
      assert.equal(await page.locator('#problem-advice').textContent(), advice, code);
      assert.equal(await page.locator('#problem-code').textContent(), `${status} · ${code}`);
      assert.equal(await page.locator('#problem-more').evaluate(({ open }) => open), action === 'operator', `${code}: the request id is in sight`);
      const offered = await page.locator('.problem-buttons button:visible').allTextContents();
      assert.equal(offered.length, 1, `${code}: ${offered}`);
      assert.match(offered[0], new RegExp(buttons[action][0]), code);
      await state(page, 'closed');
    }
  });
});

test('every sentence of the page is one', () => {
  for (const [code, { title, advice }] of Object.entries({ ...SERVICE, ...BROWSER, ...PROVIDER })) {
    assert.match(title, /^[A-Z].*[a-z”]$/, code);
    assert.match(advice, /^[A-Z“].*\.$/, code);
  }
});

test('what an operator needs can be copied', async () => {
  await browser.visit({ errors: [/502/] }, async (page) => {
    await page.context().grantPermissions(['microphone', 'clipboard-read', 'clipboard-write']);
    await signIn(page, dev.url);
    await page.route(MINT, (route) => route.fulfill(refusal(502, 'upstream_billing')));
    await startCall(page);
    await page.getByRole('button', { name: 'Copy for the operator' }).click();
    await page.getByRole('button', { name: 'Copied' }).waitFor();
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), /502 · upstream_billing\n0192f0c1-7a1b-7c3d-9e4f-000000000000$/);
  });
});

/** Waits for the card with this title, which has the focus. */
async function problem(page, title) {
  await page.getByRole('heading', { name: title }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement?.id), 'problem-title');
}

function refusal(status, code, retryAfter) {
  return {
    status,
    headers: retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) },
    contentType: 'application/problem+json',
    body: JSON.stringify({ status, code, title: 'Refused', detail: 'A sentence that says what to do.', request_id: '0192f0c1-7a1b-7c3d-9e4f-000000000000' }),
  };
}
