// The page for everybody: phones, both colour schemes, assistive technology; and what its Content-Security-Policy keeps out.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { startBrowser, until } from './browser.mjs';
import { hangUp, line, signIn, startCall, state } from './demo.mjs';
import { startDev } from './service.mjs';
import { violations } from './violations.mjs';

let browser;
let dev;

before(async () => { [browser, dev] = await Promise.all([startBrowser(), startDev()]); });
after(async () => {
  await browser?.stop();
  await dev?.stop();
});

for (const width of [1280, 360]) {
  describe(`at ${width} pixels`, () => {
    for (const colorScheme of ['light', 'dark']) {
      test(`no state has a serious accessibility violation or scrolls sideways, ${colorScheme}`, async () => {
        await browser.visit({ colorScheme, width, errors: [/500/] }, async (page) => {
          await page.emulateMedia({ reducedMotion: 'reduce' });
          const check = async (name) => {
            assert.deepEqual(await violations(page), [], name);
            assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width, `${name} scrolls sideways`);
          };
          await page.goto(dev.url);
          await page.getByRole('button', { name: 'Sign in as alice' }).waitFor();
          await check('signed out');
          await signIn(page, dev.url);
          await check('ready');
          await startCall(page, { Profile: 'tools' });
          await line(page, 'Assistant');
          await page.getByText('What a client secret can and cannot do').click();
          await page.getByText('Event log').click();
          await page.locator('#log summary').first().click();
          await page.getByRole('button', { name: 'Mute' }).click();
          await check('in a call');
          await hangUp(page);
          await state(page, 'closed');
          await check('after a call');
          await startCall(page, { Simulate: 'server_error' });
          await page.locator('#problem').waitFor();
          await page.getByText('What the other side said').click();
          await check('with a problem');
        });
      });
    }
  });
}

test('the form for access tokens is accessible and says what is missing', async () => {
  await browser.visit({ width: 360 }, async (page) => {
    await page.route('**/demo.json', (route) => route.fulfill({ json: { sign_in: 'token' } }));
    await page.goto(dev.url);
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByText('Paste an access token first.').waitFor();
    assert.equal(await page.evaluate(() => document.activeElement?.id), 'sign-in-token');
    assert.deepEqual(await violations(page), []);
    await page.getByLabel('Address of Ephemint').fill('javascript:alert(1)');
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByText('The address of Ephemint starts with https').waitFor();
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
  });
});

test('screen readers are told the state of the call and every finished line', async () => {
  await browser.visit({}, async (page) => {
    await signIn(page, dev.url);
    const told = page.locator('#announcer');
    assert.equal(await told.getAttribute('aria-live'), 'polite');
    const heardOf = [];
    await page.exposeFunction('tellTest', (text) => { heardOf.push(text); });
    await told.evaluate((region) => new MutationObserver((changes) => changes.forEach((change) => change.addedNodes.forEach((node) => globalThis.tellTest(node.textContent))))
      .observe(region, { childList: true }));
    await startCall(page);
    const { text } = await line(page, 'Assistant');
    await until('the line to be told', () => heardOf.includes(`Assistant: ${text}`));
    assert.ok(heardOf.includes('You are connected'), heardOf.join('\n'));
    await hangUp(page);
    await until('the end to be told', () => heardOf.includes('Call ended'));
  });
});

test('a script that gets into the page does not run', async () => {
  await browser.visit({ errors: [/Content Security Policy/] }, async (page) => {
    await page.goto(dev.url);
    await page.evaluate(() => {
      const script = document.createElement('script');
      script.textContent = 'globalThis.injected = true';
      document.body.append(script);
      document.body.insertAdjacentHTML('beforeend', '<img src="data:," onerror="globalThis.injected = true">');
    });
    assert.equal(await page.evaluate(() => globalThis.injected), undefined);
  });
});

test('the policy of the page lets it reach itself and the realtime API only', async () => {
  const answer = await fetch(dev.url);
  const policy = Object.fromEntries(answer.headers.get('content-security-policy').split(';').map((part) => part.trim().split(/\s+(.*)/)));
  assert.equal(policy['default-src'], "'none'");
  assert.equal(policy['script-src'], "'self'");
  assert.equal(policy['style-src'], "'self'");
  assert.match(policy['connect-src'], /^'self' http:\/\/127\.0\.0\.1:\d+$/);
  assert.equal(policy['frame-ancestors'], "'none'");
  assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
});
