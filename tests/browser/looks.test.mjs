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
          await page.route('**/v1/realtime/client_secrets*', (route) => route.fulfill({ status: 500, json: { code: 'upstream_rejected', request_id: '0192f0c1' } }));
          await startCall(page);
          await page.getByText('Copy for the operator').waitFor();
          await check('with a problem of the operator');
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

test('a pasted token that no header can carry is called that, by the place of the character', async () => {
  await browser.visit({}, async (page, seen) => {
    await page.route('**/demo.json', (route) => route.fulfill({ json: { sign_in: 'token' } }));
    await page.goto(dev.url);
    for (const [pasted, place] of [['eyJhbGciOi\u0416.CANARY', 11], ['eyJ CANARY', 4], ['eyJ\nCANARY', 4], ['\u201ceyJ.CANARY\u201d', 1], ['eyJ\u{1f511}CANARY', 4], ['Bearer \u00e9CANARY', 1]]) {
      await page.getByLabel('Access token').fill(pasted);
      await page.getByRole('button', { name: 'Continue' }).click();
      const said = await page.getByRole('alert').textContent();
      assert.match(said, new RegExp(`^Character ${place} of the token cannot be part of an access token\\. Copy it again`));
      assert.ok(!said.includes('CANARY'), said);
      assert.equal(await page.evaluate(() => document.activeElement?.id), 'sign-in-token');
    }
    assert.deepEqual(await violations(page), []);
    assert.equal(seen.requests.some((request) => request.url().includes('client_secrets')), false);
    await page.getByLabel('Access token').fill('');
  });
});

test('development sign-in that does not answer is explained beside the buttons', async () => {
  await browser.visit({ width: 360, errors: [/ERR_FAILED/] }, async (page) => {
    await page.route('**/dev/token', (route) => route.abort());
    await signIn(page, dev.url);
    await page.getByText('Development sign-in cannot be reached.').waitFor();
    assert.deepEqual(await violations(page), []);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
  });
});

for (const width of [1280, 360]) {
  for (const colorScheme of ['light', 'dark']) {
    test(`the API description can be read at ${width} pixels, ${colorScheme}`, async () => {
      await browser.visit({ colorScheme, width }, async (page) => {
        await page.goto(`${dev.url}/docs`);
        assert.ok(await page.evaluate(() => document.documentElement.scrollHeight) < 9_000, 'too long to find anything');
        await page.locator('#post-v1-realtime-client_secrets').getByText('ephemint.calls_url').waitFor();
        for (const closed of await page.locator('details:not([open]) > summary').elementHandles()) await closed.click();
        await page.locator('#get-v1-sessions').getByText('data[].secret_sha256').waitFor();
        assert.deepEqual(await violations(page), []);
        assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), width);
        const narrow = await page.locator('dd').evaluateAll((items) => items.filter((item) => item.clientWidth < 200).map((item) => item.textContent));
        assert.deepEqual(narrow, [], 'too narrow to read');
        await page.getByRole('link', { name: 'Refusals', exact: true }).click();
        assert.match(await page.locator('#rate_limited').innerText(), /429\s+rate_limited\s+Too many requests/);
      });
    });
  }
}

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
