// Browser sign-in in Chromium, against a real OpenID provider on another site: in, a call by cookie, and out again.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { startBrowser, until } from './browser.mjs';
import { hangUp, line, startCall, state } from './demo.mjs';
import { freePort, startProvider } from './provider.mjs';
import { startSandbox, startService } from './service.mjs';
import { startStaticHost } from './statics.mjs';
import { violations } from './violations.mjs';

const BLANK = '<!doctype html><html lang="en"><title>Another site</title><link rel="icon" href="data:,"><p>Another site</p></html>';
/** As an answer with `interaction_required` has it. */
const CLAIMS = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}';
/** What Chromium writes when the page asks who is signed in. */
const NOBODY_YET = /401 \(Unauthorized\)/;

let browser;
let sandbox;
let provider;
let service;
let stranger;

before(async () => {
  const port = await freePort();
  [browser, sandbox, provider, stranger] = await Promise.all([
    startBrowser(), startSandbox(), startProvider(`http://127.0.0.1:${port}`), startStaticHost({ '/': BLANK }),
  ]);
  service = await startService({ provider, sandbox, port });
});
after(async () => {
  await browser?.stop();
  stranger?.stop();
  await service?.stop();
  await sandbox?.stop();
  provider?.stop();
});

async function signIn(page, user) {
  await page.goto(service.url);
  await page.getByRole('button', { name: 'Sign in', exact: true }).click();
  await page.locator('input[name=login]').fill(user);
  await page.locator('input[name=password]').fill('any');
  await page.getByRole('button', { name: 'Sign-in' }).click();
  await page.getByRole('button', { name: 'Continue' }).click();
  await page.getByText(`${user} of Wonderland`).waitFor();
}

async function sessionCookie(page) {
  return (await page.context().cookies(service.url)).find(({ name }) => name === 'ephemint');
}

test('a user signs in at the provider, talks by cookie, and signs out here and there', async () => {
  await browser.visit({ errors: [NOBODY_YET] }, async (page, seen) => {
    await signIn(page, 'alice');
    assert.equal(page.url(), `${service.url}/`);
    const cookie = await sessionCookie(page);
    assert.deepEqual([cookie.httpOnly, cookie.sameSite, cookie.path], [true, 'Lax', '/']);
    assert.deepEqual((await page.context().cookies(service.url)).filter(({ name }) => name.startsWith('ephemint-login')), []);

    await startCall(page);
    await state(page, 'connected');
    await line(page, 'Assistant');
    await hangUp(page);
    await state(page, 'closed');
    const ours = seen.requests.filter((request) => request.url().startsWith(`${service.url}/v1/`));
    assert.deepEqual([...new Set(ours.map((request) => request.method()))].sort(), ['DELETE', 'POST']);
    for (const request of ours) assert.equal((await request.allHeaders()).authorization, undefined);

    await page.reload();
    await page.getByText('alice of Wonderland').waitFor();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('button', { name: 'Yes, sign me out' }).click();
    await page.getByRole('button', { name: 'Sign in', exact: true }).waitFor();
    assert.equal(page.url(), `${service.url}/`);
    assert.equal(await sessionCookie(page), undefined);
    assert.ok(provider.requests.includes('POST /token/revocation'), provider.requests.join('\n'));
    assert.equal(await page.evaluate(async () => (await fetch('/auth/me')).status), 401);

    // What was copied before is of no use either.
    await page.context().addCookies([cookie]);
    assert.equal(await page.evaluate(async () => (await fetch('/auth/me')).status), 401);
    await page.context().clearCookies();
  });
});

test('a user who turns back at the provider reads why and may try again', async () => {
  await browser.visit({ errors: [NOBODY_YET] }, async (page) => {
    await page.goto(service.url);
    await page.getByRole('button', { name: 'Sign in', exact: true }).click();
    await page.getByText('[ Cancel ]').click();
    await page.getByRole('heading', { name: 'You are not signed in' }).waitFor();
    await page.getByText('not completed at the identity provider').waitFor();
    assert.deepEqual(await violations(page), []);
    assert.deepEqual(await page.context().cookies(service.url), await page.context().cookies(provider.url));
    await page.getByRole('link', { name: 'Go back' }).click();
    await page.getByRole('button', { name: 'Sign in', exact: true }).waitFor();
  });
});

test('a user who has to show more is led to the provider with what it has to ask for, and back', async () => {
  await browser.visit({ errors: [NOBODY_YET] }, async (page) => {
    await signIn(page, 'dora');
    const refusal = { code: 'interaction_required', title: 'You have to sign in again', status: 401, claims: btoa(CLAIMS) };
    await page.route('**/v1/realtime/client_secrets*', (route) => route.fulfill({ status: 401, contentType: 'application/problem+json', json: refusal }), { times: 1 });
    await startCall(page);
    await page.getByRole('heading', { name: 'Your organisation wants to see you' }).waitFor();
    const led = page.waitForRequest((request) => request.url().startsWith(`${provider.url}/auth?`));
    await page.getByRole('button', { name: 'Sign in again' }).click();
    assert.equal(new URL((await led).url()).searchParams.get('claims'), CLAIMS);
    await page.getByText('dora of Wonderland').waitFor();
    await startCall(page);
    await state(page, 'connected');
    await hangUp(page);
  });
});

test('a page of another site can neither use nor end the session', async () => {
  await browser.visit({ errors: [NOBODY_YET, /403 \(Forbidden\)|404 \(Not Found\)/] }, async (page) => {
    await signIn(page, 'bob');
    const before = await sessionCookie(page);
    for (const path of ['/v1/realtime/client_secrets', '/auth/logout']) {
      await page.goto(stranger.url.replace('127.0.0.1', 'localhost'));
      const [answer] = await Promise.all([
        page.waitForResponse((response) => response.url().startsWith(service.url)),
        page.evaluate((action) => {
          const form = document.createElement('form');
          Object.assign(form, { method: 'post', action });
          document.body.append(form);
          form.submit();
        }, `${service.url}${path}`),
      ]);
      await page.waitForURL(`${service.url}${path}`);
      assert.equal(answer.status(), 403);
      assert.equal((await answer.request().allHeaders()).cookie, undefined);
    }
    await page.goto(service.url);
    await page.getByText('bob of Wonderland').waitFor();
    assert.equal((await sessionCookie(page)).value, before.value);
  });
});

for (const width of [1280, 360]) {
  for (const colorScheme of ['light', 'dark']) {
    test(`the page is for everybody, ${width} pixels, ${colorScheme}`, async () => {
      await browser.visit({ colorScheme, width, errors: [NOBODY_YET] }, async (page) => {
        const check = async (name) => {
          assert.deepEqual(await violations(page), [], name);
          assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width, `${name} scrolls sideways`);
        };
        await page.goto(service.url);
        await page.getByRole('button', { name: 'Sign in', exact: true }).waitFor();
        await check('signed out');
        await page.goto(`${service.url}/auth/callback`);
        await check('not signed in');
        await signIn(page, 'carol');
        await until('the desk', () => page.locator('#desk').isVisible());
        await check('signed in');
      });
    });
  }
}
