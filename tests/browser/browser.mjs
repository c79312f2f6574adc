// Chromium, and what holds for every page in every test: no error on the console, no request beyond this machine, no secret left behind.
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { chromium } from 'playwright-core';

import { voice } from './voice.mjs';

const EXECUTABLE = process.env.EPHEMINT_CHROMIUM ?? '/usr/bin/chromium';
const FLAGS = [
  '--use-fake-device-for-media-stream',
  '--deny-permission-prompts',
  '--autoplay-policy=no-user-gesture-required',
  '--allow-loopback-in-peer-connection',
  '--no-sandbox',
  '--disable-background-networking',
];
const PATIENCE_MS = 20_000;

export async function startBrowser() {
  const folder = await mkdtemp(join(tmpdir(), 'ephemint-voice-'));
  const spoken = join(folder, 'voice.wav');
  await writeFile(spoken, voice());
  const browser = await chromium.launch({ executablePath: EXECUTABLE, args: [...FLAGS, `--use-file-for-fake-audio-capture=${spoken}`] });
  return {
    visit: (options, act) => visit(browser, options, act),
    async stop() {
      await browser.close();
      await rm(folder, { recursive: true });
    },
  };
}

/**
 * A fresh visitor.
 * @param {{ colorScheme?: "light" | "dark", width?: number, microphone?: boolean, errors?: RegExp[] }} options `errors`: what Chromium may
 * write to the console because the test wants a request to fail; each must happen
 * @param {(page: import("playwright-core").Page, seen: { requests: import("playwright-core").Request[], secrets: Set<string> }) => Promise<void>} act
 */
async function visit(browser, { colorScheme = 'light', width = 1280, microphone = true, errors = [] } = {}, act) {
  const context = await browser.newContext({
    colorScheme,
    viewport: { width, height: 900 },
    permissions: microphone ? ['microphone'] : [],
  });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const seen = watch(page);
  await page.addInitScript(keepPeers);
  try {
    await act(page, seen);
    await Promise.all(seen.reading);
    await expectNothingLeftBehind(page, seen.secrets);
    const unexpected = seen.console.filter((text) => !errors.some((pattern) => pattern.test(text)));
    assert.deepEqual(unexpected, [], 'errors on the console');
    for (const pattern of errors) assert.ok(seen.console.some((text) => pattern.test(text)), `Chromium never said ${pattern}`);
    assert.deepEqual(seen.requests.map((request) => request.url()).filter(isBeyondLoopback), [], 'requests beyond this machine');
    for (const secret of seen.secrets) assert.ok(!seen.printed.some((text) => text.includes(secret)), 'a secret on the console');
  } finally {
    await context.close();
  }
}

function watch(page) {
  const seen = { console: [], printed: [], requests: [], secrets: new Set(), reading: [] };
  page.on('console', (message) => {
    seen.printed.push(message.text());
    if (['error', 'warning'].includes(message.type())) seen.console.push(message.text());
  });
  page.on('pageerror', (error) => seen.console.push(String(error.stack)));
  page.on('request', (request) => seen.requests.push(request));
  page.on('response', (response) => {
    if (!/\/(client_secrets|dev\/token)(\?|$)/.test(response.url()) || response.request().method() !== 'POST') return;
    seen.reading.push(response.json().then(({ value, access_token: token }) => {
      if (value) seen.secrets.add(value);
      if (token) seen.secrets.add(token).add(token.split('.')[2]);
    }, () => {}));
  });
  return seen;
}

/** Runs in the page before its own scripts: lets tests ask the browser what its connections measure. */
function keepPeers() {
  if (!globalThis.RTCPeerConnection) return;
  const Native = globalThis.RTCPeerConnection;
  globalThis.testPeers = [];
  globalThis.RTCPeerConnection = class extends Native {
    constructor(...options) {
      super(...options);
      globalThis.testPeers.push(this);
    }
  };
}

async function expectNothingLeftBehind(page, secrets) {
  const left = await page.evaluate(async () => JSON.stringify({
    address: location.href,
    local: { ...localStorage },
    session: { ...sessionStorage },
    cookies: document.cookie,
    databases: (await indexedDB.databases()).map(({ name }) => name),
    caches: await caches.keys(),
    history: history.state,
    document: document.documentElement.outerHTML,
    fields: [...document.querySelectorAll('input, textarea')].map((field) => field.value),
  }));
  const { local, session, cookies, databases, caches: cached } = JSON.parse(left);
  assert.deepEqual({ local, session, cookies, databases, cached }, { local: {}, session: {}, cookies: '', databases: [], cached: [] });
  for (const secret of secrets) assert.ok(!left.includes(secret), 'a secret was left in the page');
}

function isBeyondLoopback(address) {
  const { protocol, hostname } = new URL(address);
  return !['data:', 'blob:'].includes(protocol) && !['127.0.0.1', 'localhost'].includes(hostname);
}

/** Waits until `question` has an answer that counts as true, and gives it. */
export async function until(what, question, patience = PATIENCE_MS) {
  let answer;
  for (const deadline = Date.now() + patience; Date.now() < deadline; await new Promise((resolve) => setTimeout(resolve, 50))) {
    answer = await question();
    if (answer) return answer;
  }
  return assert.fail(`waited in vain: ${what}; last answer: ${JSON.stringify(answer)}`);
}

/** What the page hears: packets, the highest recent level (0 to 1) and the energy so far, of its newest connection. */
export function heard(page) {
  return page.evaluate(async () => {
    const report = [...(await globalThis.testPeers.at(-1).getStats()).values()].find(({ type, kind }) => type === 'inbound-rtp' && kind === 'audio');
    return { packets: report?.packetsReceived ?? 0, level: report?.audioLevel ?? 0, energy: report?.totalAudioEnergy ?? 0 };
  });
}
