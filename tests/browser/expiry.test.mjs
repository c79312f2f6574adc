// Secrets that really expire, 60 seconds after they were minted: before the call, during it, and with a device whose clock is slow.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { heard, startBrowser, until } from './browser.mjs';
import { hangUp, line, startCall, state } from './demo.mjs';
import { startIssuer } from './issuer.mjs';
import { startSandbox, startService } from './service.mjs';
import { startStaticHost } from './statics.mjs';

const MINT = '**/v1/realtime/client_secrets*';
const LIFETIME_MS = 60_000;
const PATIENCE_MS = LIFETIME_MS + 30_000;

let browser;
let issuer;
let sandbox;
let host;
let service;

before(async () => {
  [browser, issuer, sandbox, host] = await Promise.all([startBrowser(), startIssuer(), startSandbox(), startStaticHost({})]);
  service = await startService({ issuer, sandbox, origin: host.url });
  host.pages['/demo/demo.json'] = JSON.stringify({ ephemint: service.url, sign_in: 'token', profiles: ['brief'] });
});
after(async () => {
  await browser?.stop();
  host?.stop();
  await service?.stop();
  await sandbox?.stop();
  issuer?.stop();
});

// Together, so that they wait for the same minute.
describe('a secret of 60 seconds', { concurrency: true }, () => {
  test('does not end the call that it opened', async () => {
    await visit('caller', {}, async (page, seen) => {
      await startCall(page);
      await state(page, 'connected');
      await until('its end', () => page.locator('#secret-card.expired').isVisible(), PATIENCE_MS);
      assert.equal(await page.locator('#secret-state').textContent(), 'Expired. A running call goes on');
      assert.equal(await page.locator('#screen').getAttribute('data-state'), 'connected');
      const { packets } = await heard(page);
      await until('more sound', async () => (await heard(page)).packets > packets + 20);
      await page.getByLabel('Type to the assistant').fill('Are you still there?');
      await page.keyboard.press('Enter');
      const answers = await page.locator('.line.assistant:not(.interim)').count();
      await line(page, 'Assistant', answers);
      const ended = page.waitForResponse((response) => response.request().method() === 'DELETE');
      await hangUp(page);
      await state(page, 'closed');
      assert.equal((await ended).status(), 204);
      assert.equal(mints(seen), 1);
    });
  });

  test('is replaced unsent when it expired while the microphone prompt was open', async () => {
    await visit('slow to answer', { prompt: true }, async (page, seen) => {
      const first = await startCallAndLetItExpire(page);
      await page.evaluate(() => globalThis.allowMicrophone());
      await state(page, 'connected');
      assert.equal(mints(seen), 2);
      const used = calls(seen).map((request) => request.headers().authorization);
      assert.equal(used.length, 1);
      assert.notEqual(used[0], `Bearer ${first}`);
      await hangUp(page);
    });
  });

  test('is refused as expired where the clock of the device is slow, and replaced once', async () => {
    await visit('in the past', { prompt: true, slow: true, errors: [/401/] }, async (page, seen) => {
      const first = await startCallAndLetItExpire(page);
      const refused = page.waitForResponse((response) => response.url().includes('/realtime/calls') && response.status() === 401);
      await page.evaluate(() => globalThis.allowMicrophone());
      assert.equal((await (await refused).json()).error.code, 'token_expired');
      assert.equal((await refused).request().headers().authorization, `Bearer ${first}`);
      await state(page, 'connected');
      assert.deepEqual([mints(seen), calls(seen).length], [2, 2]);
      assert.equal(await page.locator('#problem').isVisible(), false);
      await hangUp(page);
    });
  });

  test('ends the attempt where something keeps handing out old ones, and the caller gets on when it stops', async () => {
    await visit('behind a cache', { slow: true, errors: [/401/] }, async (page, seen) => {
      const old = await (await mintElsewhere()).json();
      seen.secrets.add(old.value);
      await expiry(old.expires_at);
      await page.route(MINT, (route) => (route.request().method() === 'POST' ? route.fulfill({ json: old, headers: { 'access-control-allow-origin': host.url } }) : route.continue()));
      await startCall(page);
      await page.getByRole('heading', { name: 'The realtime API refuses the secret' }).waitFor();
      assert.match(await page.locator('#problem-advice').textContent(), /Check the clock of this device/);
      assert.equal(await page.locator('#problem-code').textContent(), '401 · token_expired');
      assert.equal(await page.locator('#screen').getAttribute('data-state'), 'closed');
      assert.deepEqual(calls(seen).map((request) => request.headers().authorization), Array(2).fill(`Bearer ${old.value}`));
      await page.unroute(MINT);
      await page.getByRole('button', { name: 'Try again' }).click();
      await state(page, 'connected');
      assert.equal(await page.locator('#problem').isVisible(), false);
      await hangUp(page);
    });
  });
});

/** The demo page with somebody signed in. `prompt`: the microphone prompt stays open until `allowMicrophone()`. `slow`: ten minutes behind. */
async function visit(user, { prompt = false, slow = false, errors }, act) {
  await browser.visit({ errors }, async (page, seen) => {
    if (prompt) await page.addInitScript(holdPrompt);
    if (slow) await page.addInitScript(setClockBack);
    const token = issuer.signIn(user);
    seen.secrets.add(token);
    await page.goto(`${host.url}/demo/`);
    await page.getByLabel('Access token').fill(token);
    await page.getByRole('button', { name: 'Continue' }).click();
    await act(page, seen);
  });
}

function holdPrompt() {
  const devices = navigator.mediaDevices;
  const prompt = devices.getUserMedia.bind(devices);
  devices.getUserMedia = (wish) => new Promise((resolve) => { globalThis.allowMicrophone = () => resolve(prompt(wish)); });
}

function setClockBack() {
  const now = Date.now.bind(Date);
  Date.now = () => now() - 600_000;
}

/** Gives back the secret that expired. */
async function startCallAndLetItExpire(page) {
  const minted = page.waitForResponse((response) => response.url().includes('client_secrets') && response.request().method() === 'POST');
  await startCall(page);
  const { value, expires_at: end } = await (await minted).json();
  await page.getByText('Waiting for your microphone').first().waitFor();
  await expiry(end);
  return value;
}

function expiry(end) {
  return until('the end of the secret', () => Date.now() / 1000 > end + 1, PATIENCE_MS);
}

function mintElsewhere() {
  return fetch(`${service.url}/v1/realtime/client_secrets?profile=brief`, { method: 'POST', headers: { authorization: `Bearer ${issuer.signIn('behind a cache')}` } });
}

function mints(seen) {
  return seen.requests.filter((request) => request.url().includes('client_secrets') && request.method() === 'POST').length;
}

function calls(seen) {
  return seen.requests.filter((request) => request.url().includes('/realtime/calls') && request.method() === 'POST');
}
