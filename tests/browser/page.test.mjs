// The demo page of `ephemint dev` in Chromium, with a real microphone stream, real WebRTC and the real binary.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { heard, startBrowser, until } from './browser.mjs';
import { hangUp, line, lines, signIn, startCall, state, used } from './demo.mjs';
import { startDev } from './service.mjs';

let browser;
let dev;

before(async () => { [browser, dev] = await Promise.all([startBrowser(), startDev()]); });
after(async () => {
  await browser?.stop();
  await dev?.stop();
});

test('one click after sign-in, a caller hears the assistant and reads what it says', async () => {
  await browser.visit({}, async (page) => {
    await signIn(page, dev.url);
    await startCall(page);
    await state(page, 'connected');

    const { packets } = await until('packets', async () => { const now = await heard(page); return now.packets > 20 && now; });
    await until('a sound', async () => (await heard(page)).level > 0.001);
    await until('the meter of the assistant', async () => Number(await page.getByRole('meter', { name: 'Assistant' }).getAttribute('aria-valuenow')) > 0);
    assert.match((await line(page, 'Assistant')).text, /\w+ \w+/);
    assert.ok((await heard(page)).packets > packets, 'packets stopped coming');
    await hangUp(page);
  });
});

test('what the caller says is heard and written down beside the answer', async () => {
  await browser.visit({}, async (page) => {
    await signIn(page, dev.url);
    await startCall(page);
    await until('the meter of the caller', async () => Number(await page.getByRole('meter', { name: 'You' }).getAttribute('aria-valuenow')) > 0);
    assert.ok((await line(page, 'You')).text.length > 0);
    await line(page, 'Assistant', 1);
    await hangUp(page);
  });
});

test('what the caller types is answered', async () => {
  await browser.visit({}, async (page) => {
    await signIn(page, dev.url);
    await startCall(page);
    await line(page, 'Assistant');
    const before = (await lines(page)).filter(({ who }) => who === 'Assistant').length;
    await page.getByLabel('Type to the assistant').fill('Good morning!');
    await page.keyboard.press('Enter');
    await until('the typed line', async () => (await lines(page)).some(({ who, text }) => who === 'You' && text === 'Good morning!'));
    await line(page, 'Assistant', before);
    await hangUp(page);
  });
});

test('the secret is fetched while the microphone prompt is open, once', async () => {
  await browser.visit({}, async (page, seen) => {
    await page.addInitScript(() => {
      const devices = navigator.mediaDevices;
      const prompt = devices.getUserMedia.bind(devices);
      devices.getUserMedia = (wish) => new Promise((resolve) => { globalThis.allowMicrophone = () => resolve(prompt(wish)); });
    });
    await signIn(page, dev.url);
    const minted = page.waitForResponse((response) => response.url().includes('client_secrets') && response.request().method() === 'POST');
    await startCall(page);
    assert.equal((await minted).status(), 200);
    await page.getByText('Waiting for your microphone').first().waitFor();
    assert.equal(await page.locator('#step-secret.done').isVisible(), true);
    assert.equal(seen.requests.some((request) => request.url().includes('/realtime/calls')), false, 'called without a microphone');
    await page.evaluate(() => globalThis.allowMicrophone());
    await state(page, 'connected');
    await until('the first sound', () => page.locator('#step-audio.done').isVisible());
    assert.equal(seen.requests.filter((request) => request.url().includes('client_secrets') && request.method() === 'POST').length, 1);
    await hangUp(page);
  });
});

test('tokens are counted by kind while the call goes on', async () => {
  await browser.visit({}, async (page) => {
    await signIn(page, dev.url);
    await startCall(page);
    await until('an answer that is counted', async () => (await used(page, 'Answers')) > 0);
    assert.ok((await used(page, 'Audio out')) > 0);
    assert.ok((await used(page, 'Text in')) + (await used(page, 'Audio in')) > 0);
    assert.ok((await used(page, 'Tokens in all')) >= (await used(page, 'Audio out')));
    await hangUp(page);
  });
});

test('the secret is shown by four characters and a countdown only', async () => {
  await browser.visit({}, async (page, { secrets }) => {
    await signIn(page, dev.url);
    await startCall(page);
    await state(page, 'connected');
    const shown = await page.locator('#secret-value').textContent();
    const minted = [...secrets].find((secret) => secret.startsWith('ek_'));
    assert.equal(shown, `ek_••••${minted.slice(-4)}`);
    const left = async () => Number(await page.locator('#secret-left').textContent());
    const first = await left();
    assert.ok(first > 30 && first <= 600, `${first} seconds`);
    await until('the countdown', async () => (await left()) < first);
    await page.getByText('Event log').click();
    await until('events in the log', async () => (await page.locator('#log li').count()) > 5);
    for (const event of await page.locator('#log summary').all()) await event.click();
    await hangUp(page);
  });
});

test('mute silences the microphone and nothing else', async () => {
  await browser.visit({}, async (page) => {
    await signIn(page, dev.url);
    await startCall(page);
    await state(page, 'connected');
    const sending = () => page.evaluate(() => globalThis.testPeers.at(-1).getSenders().some(({ track }) => track?.enabled));
    assert.equal(await sending(), true);
    await page.getByRole('button', { name: 'Mute' }).click();
    assert.equal(await sending(), false);
    assert.equal(await page.getByRole('button', { name: 'Muted' }).getAttribute('aria-pressed'), 'true');
    const { packets } = await heard(page);
    await until('more packets', async () => (await heard(page)).packets > packets + 10);
    await page.getByRole('button', { name: 'Muted' }).click();
    assert.equal(await sending(), true);
    await hangUp(page);
  });
});

test('hanging up closes the connection, stops the microphone and gives the session back', async () => {
  await browser.visit({}, async (page, seen) => {
    await signIn(page, dev.url);
    await startCall(page);
    await state(page, 'connected');
    const track = await page.evaluateHandle(() => globalThis.testPeers.at(-1).getSenders().find((sender) => sender.track).track);
    const ended = page.waitForResponse((response) => response.request().method() === 'DELETE');
    await hangUp(page);
    await state(page, 'closed');
    assert.equal(await track.evaluate(({ readyState }) => readyState), 'ended');
    assert.equal(await page.evaluate(() => globalThis.testPeers.at(-1).connectionState), 'closed');
    assert.equal((await ended).status(), 204);
    assert.equal(seen.requests.filter((request) => request.method() === 'DELETE').length, 1);
    await startCall(page);
    await state(page, 'connected');
    await hangUp(page);
  });
});

test('a function that the model calls is answered by the page and shown', async () => {
  await browser.visit({}, async (page) => {
    await signIn(page, dev.url);
    await startCall(page, { Profile: 'tools' });
    await state(page, 'connected');
    await page.getByLabel('Type to the assistant').fill('What is the weather in Lisbon?');
    await page.keyboard.press('Enter');
    const call = page.locator('.tool').last();
    await call.getByText('Answered by this page').waitFor();
    assert.match(await call.locator('.tool-head code').textContent(), /^\w+$/);
    await line(page, 'Assistant');
    await hangUp(page);
  });
});

test('a voice that the profile leaves to the caller is asked for', async () => {
  await browser.visit({}, async (page, seen) => {
    await signIn(page, dev.url);
    await startCall(page, { Voice: 'cedar' });
    await state(page, 'connected');
    const mint = seen.requests.find((request) => request.url().includes('/client_secrets'));
    assert.deepEqual(mint.postDataJSON(), { session: { audio: { output: { voice: 'cedar' } } } });
    await hangUp(page);
  });
});

test('the whole call works from the keyboard', async () => {
  await browser.visit({}, async (page) => {
    await page.goto(dev.url);
    const focused = () => page.evaluate(() => {
      const element = document.activeElement;
      return element === document.body ? '' : element.textContent.trim() || element.getAttribute('aria-label') || '';
    });
    const press = async (key, name) => {
      for (let step = 0; step < 30 && !(await focused()).includes(name); step += 1) await page.keyboard.press('Tab');
      assert.ok((await focused()).includes(name), `no way to “${name}”`);
      await page.keyboard.press(key);
    };
    await page.getByRole('button', { name: 'Sign in as bob' }).waitFor();
    await press('Enter', 'Sign in as bob');
    await page.getByRole('button', { name: 'Start talking' }).waitFor();
    await press('Enter', 'Start talking');
    await state(page, 'connected');
    await page.keyboard.press('m');
    assert.equal(await page.getByRole('button', { name: 'Muted' }).getAttribute('aria-pressed'), 'true');
    await page.getByLabel('Type to the assistant').fill('mmm');
    await page.keyboard.press('m');
    assert.equal(await page.getByRole('button', { name: 'Muted' }).getAttribute('aria-pressed'), 'true', 'typing an m unmuted');
    await page.keyboard.press('Escape');
    await state(page, 'connected');
    await page.keyboard.press('Escape');
    await state(page, 'closed');
    assert.match(await focused(), /Start talking/);
  });
});

test('without shortcuts, keys do nothing', async () => {
  await browser.visit({}, async (page) => {
    await signIn(page, dev.url);
    await page.getByLabel('Keyboard shortcuts').uncheck();
    await startCall(page);
    await state(page, 'connected');
    await page.keyboard.press('m');
    await page.keyboard.press('Escape');
    assert.equal(await page.getByRole('button', { name: 'Mute' }).getAttribute('aria-pressed'), 'false');
    await state(page, 'connected');
    await hangUp(page);
  });
});

test('signing out ends the call and forgets the caller', async () => {
  await browser.visit({}, async (page) => {
    await signIn(page, dev.url);
    await startCall(page);
    await state(page, 'connected');
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('button', { name: 'Sign in as alice' }).waitFor();
    assert.equal(await page.evaluate(() => globalThis.testPeers.at(-1).connectionState), 'closed');
  });
});
