// ephemint.js on a page of another origin, against `ephemint serve`; and OpenAI's own browser client with a secret from the same service.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { heard, startBrowser, until } from './browser.mjs';
import { line, startCall, state } from './demo.mjs';
import { startIssuer } from './issuer.mjs';
import { startSandbox, startService } from './service.mjs';
import { startStaticHost } from './statics.mjs';

const BLANK = '<!doctype html><html lang="en"><title>An app</title><link rel="icon" href="data:,"><p>An app</p></html>';

let browser;
let issuer;
let sandbox;
let host;
let service;
let stranger;

before(async () => {
  [browser, issuer, sandbox, host, stranger] = await Promise.all([
    startBrowser(), startIssuer(), startSandbox(), startStaticHost({ '/app.html': BLANK }), startStaticHost({ '/app.html': BLANK }),
  ]);
  service = await startService({ issuer, sandbox, origin: host.url });
  host.pages['/demo/demo.json'] = JSON.stringify({ ephemint: service.url, sign_in: 'token', profiles: ['default'] });
});
after(async () => {
  await browser?.stop();
  host?.stop();
  stranger?.stop();
  await service?.stop();
  await sandbox?.stop();
  issuer?.stop();
});

describe('ephemint.js', () => {
  test('connects from another origin, hears, writes and hangs up', async () => {
    await app({}, async (page, options) => {
      const { callId, state: reached } = await open(page, options);
      assert.match(callId, /^rtc_/);
      assert.equal(reached, 'connected');
      await page.evaluate(() => globalThis.session.sendText('Good morning!'));
      await until('a line of the assistant', () => page.evaluate(() => globalThis.lines.some(({ role, final }) => role === 'assistant' && final)));
      await until('packets', async () => (await heard(page)).packets > 20);
      await until('usage', () => page.evaluate(() => globalThis.session.usage.total > 0));
      await page.evaluate(() => globalThis.session.close());
      assert.equal(await page.evaluate(() => globalThis.session.state), 'closed');
    });
  });

  test('types interrupt the assistant and are answered once it is silent', async () => {
    await app({}, async (page, options) => {
      await open(page, options);
      await page.evaluate(() => globalThis.session.send({ type: 'response.create' }));
      await until('speech', () => page.evaluate(() => globalThis.events.includes('output_audio_buffer.started')));
      await page.evaluate(() => globalThis.session.sendText('Wait.'));
      await until('a second answer', () => page.evaluate(() => globalThis.events.filter((type) => type === 'response.done').length >= 2));
      assert.deepEqual(await page.evaluate(() => globalThis.problems), []);
      await page.evaluate(() => globalThis.session.close());
    });
  });

  test('gives a refusal its code, status and request id, with and without another try', async () => {
    await app({ errors: [/429/] }, async (page, options, seen) => {
      const mine = { ...options, profile: 'rare' };
      assert.equal((await mint(page, mine)).failed, undefined);
      const { failed } = await mint(page, mine);
      assert.deepEqual({ code: failed.code, status: failed.status, source: failed.source }, { code: 'rate_limited', status: 429, source: 'ephemint' });
      assert.match(failed.requestId, /^[\w-]{8,}$/);
      assert.ok(failed.retryAfter > 10, `Retry-After ${failed.retryAfter}`);
      assert.equal(seen.requests.filter((request) => request.method() === 'POST').length, 2);
    });
  });

  test('frees the place of a call when it is closed', async () => {
    await app({}, async (page, options) => {
      const mine = { ...options, profile: 'alone', microphone: false };
      for (let call = 0; call < 2; call += 1) {
        await open(page, mine);
        await page.evaluate(() => globalThis.session.close());
      }
    });
  });

  test('reports an upstream that fails as the service names it', async () => {
    await app({ errors: [/50[0-9]/] }, async (page, options) => {
      const { failed } = await mint(page, { ...options, profile: 'broken' });
      assert.match(failed.code, /^upstream_/);
    });
  });

  test('says that it cannot be reached where its page is not allowed', async () => {
    await app({ at: stranger, errors: [/CORS|ERR_FAILED|403/] }, async (page, options) => {
      const { failed } = await mint(page, options);
      assert.equal(failed.code, 'unreachable');
    });
  });

  test('reports the call by the last part of its Location, and the call ends with its session', async () => {
    await app({}, async (page, options) => {
      const located = page.waitForResponse((response) => response.url().includes('/realtime/calls') && response.request().method() === 'POST');
      const reported = page.waitForResponse((response) => response.url().endsWith('/call') && response.request().method() === 'POST');
      const { callId } = await open(page, options);
      const { location } = (await located).headers();
      assert.equal(callId, location.split('/').at(-1));
      assert.equal((await reported).status(), 204);
      const sessionId = await page.evaluate(() => globalThis.session.sessionId);
      const session = `${options.baseUrl}/v1/sessions/${sessionId}`;
      const headers = { authorization: `Bearer ${options.token}` };
      const { state: now, call_id: known } = await (await fetch(session, { headers })).json();
      assert.deepEqual([now, known], ['in_call', callId]);
      // From elsewhere, as a back end would: the service hangs up, and the browser learns of it.
      assert.equal((await fetch(session, { method: 'DELETE', headers })).status, 204);
      await until('the call is over', () => page.evaluate(() => globalThis.session.state !== 'connected'));
      await page.evaluate(() => globalThis.session.close());
    });
  });

  test('does not report the call where it is not to', async () => {
    await app({}, async (page, options) => {
      await open(page, { ...options, reportCall: false });
      const sessionId = await page.evaluate(() => globalThis.session.sessionId);
      const headers = { authorization: `Bearer ${options.token}` };
      const shown = await (await fetch(`${options.baseUrl}/v1/sessions/${sessionId}`, { headers })).json();
      assert.deepEqual([shown.state, shown.call_id], ['issued', undefined]);
      await page.evaluate(() => globalThis.session.close());
    });
  });

  for (const [name, answer, problems] of [
    ['goes on when the report is refused, and says so', {
      status: 409, contentType: 'application/problem+json', body: JSON.stringify({ code: 'call_already_reported', detail: 'A call was reported before.' }),
    }, ['call_already_reported A call was reported before.']],
    ['goes on when the report does not get through, and says so', undefined, ['unreachable The service cannot be reached from this page.']],
  ]) {
    test(name, async () => {
      await app({ errors: problems.length > 0 ? [/409|ERR_FAILED/] : [] }, async (page, options) => {
        let reported;
        await page.route('**/v1/sessions/*/call', (route) => {
          if (route.request().method() === 'POST') reported = route.request();
          const allowed = { 'access-control-allow-origin': host.url, 'access-control-allow-headers': 'authorization, content-type' };
          return answer ? route.fulfill({ ...answer, headers: allowed }) : route.abort();
        });
        const located = page.waitForResponse((response) => response.url().includes('/realtime/calls') && response.request().method() === 'POST');
        const { callId } = await open(page, options);
        const { location } = (await located).headers();
        await until('the report', () => reported);
        assert.equal(new URL(reported.url()).pathname, `/v1/sessions/${await page.evaluate(() => globalThis.session.sessionId)}/call`);
        assert.deepEqual(reported.postDataJSON(), { call_id: location.split('/').at(-1) });
        assert.equal(callId, location.split('/').at(-1));
        assert.equal(reported.headers().authorization, `Bearer ${options.token}`);
        await until('what went wrong', () => page.evaluate((count) => globalThis.problems.length >= count, problems.length));
        assert.deepEqual(await page.evaluate(() => globalThis.problems), problems);
        await page.evaluate(() => globalThis.session.sendText('Are you still there?'));
        await until('an answer', () => page.evaluate(() => globalThis.lines.some(({ role, final }) => role === 'assistant' && final)));
        await page.evaluate(() => globalThis.session.close());
      });
    });
  }

  test('ends at once when it is aborted', async () => {
    await app({}, async (page, options) => {
      const outcome = await page.evaluate(async (given) => {
        const { connect } = await import('/demo/ephemint.js');
        const stop = new AbortController();
        const opening = connect({ ...given, getToken: () => given.token, signal: stop.signal, callsQuery: { scenario: 'slow' } });
        setTimeout(() => stop.abort(new Error('enough')), 300);
        return opening.then(() => 'connected', (error) => error.message);
      }, options);
      assert.equal(outcome, 'enough');
      assert.equal(await page.evaluate(() => globalThis.testPeers.every(({ connectionState }) => connectionState === 'closed')), true);
    });
  });

  test('keeps no secret on the session', async () => {
    await app({}, async (page, options, { secrets }) => {
      await open(page, options);
      const reachable = await page.evaluate(() => JSON.stringify([globalThis.session, Object.getOwnPropertyNames(globalThis.session), globalThis.details]));
      for (const secret of secrets) assert.ok(!reachable.includes(secret));
      await page.evaluate(() => globalThis.session.close());
    });
  });
});

test('the demo page works from a static host with a pasted token', async () => {
  await browser.visit({}, async (page, { secrets }) => {
    const token = issuer.signIn('alice');
    secrets.add(token);
    await page.goto(`${host.url}/demo/`);
    await page.getByLabel('Access token').fill(token);
    await page.getByRole('button', { name: 'Continue' }).click();
    await page.getByText('alice', { exact: true }).waitFor();
    await startCall(page);
    await state(page, 'connected');
    await line(page, 'Assistant');
    await page.getByRole('button', { name: 'Hang up' }).click();
    await state(page, 'closed');
  });
});

test('@openai/agents-realtime, unmodified, holds a conversation with a secret from Ephemint', async () => {
  await app({}, async (page, options) => {
    const result = await page.evaluate(async ({ token, baseUrl }) => {
      const { RealtimeAgent, RealtimeSession } = await import('/packages/@openai/agents-realtime/dist/bundle/openai-realtime-agents.mjs');
      const { requestSecret } = await import('/demo/ephemint.js');
      const { value, callsUrl } = await requestSecret({ baseUrl, getToken: () => token });
      const session = new RealtimeSession(new RealtimeAgent({ name: 'Assistant', instructions: 'Be brief.' }));
      const errors = [];
      session.on('error', ({ error }) => errors.push(JSON.stringify(error)));
      const answered = new Promise((resolve) => {
        session.on('history_updated', (history) => {
          const said = history.filter(({ type, role, status }) => type === 'message' && role === 'assistant' && status === 'completed')
            .flatMap(({ content }) => content.map((part) => part.transcript ?? part.text ?? ''));
          if (said.some((text) => text !== '')) resolve(said);
        });
      });
      await session.connect({ apiKey: () => value, url: callsUrl });
      session.sendMessage('Good morning!');
      const said = await Promise.race([answered, new Promise((_, reject) => setTimeout(reject, 20_000, new Error('no answer')))]);
      globalThis.agents = session;
      return { said, errors, callId: session.transport.callId };
    }, options);
    assert.match(result.said.join(' '), /\w+ \w+/);
    assert.deepEqual(result.errors, []);
    assert.match(result.callId, /^rtc_/);
    await until('packets', async () => (await heard(page)).packets > 20);
    await until('usage', () => page.evaluate(() => globalThis.agents.usage.totalTokens > 0));
    await page.evaluate(() => globalThis.agents.close());
  });
});

/** A page of an app at another origin, and the options with which it uses the service. */
async function app({ at = host, ...visit }, act) {
  await browser.visit(visit, async (page, seen) => {
    const token = issuer.signIn(`user-${Math.random().toString(36).slice(2)}`);
    seen.secrets.add(token);
    await page.goto(`${at.url}/app.html`);
    await act(page, { baseUrl: service.url, token }, seen);
  });
}

/** Opens a session in the page and keeps what it reports. */
function open(page, options) {
  return page.evaluate(async (given) => {
    const { Session } = await import('/demo/ephemint.js');
    const session = new Session({ ...given, getToken: () => given.token });
    Object.assign(globalThis, { session, lines: [], events: [], problems: [], details: [] });
    session.addEventListener('transcript', ({ detail }) => globalThis.lines.push(detail));
    session.addEventListener('event', ({ detail }) => globalThis.events.push(detail.type));
    session.addEventListener('error', ({ detail }) => globalThis.problems.push(`${detail.code} ${detail.message}`));
    for (const type of ['state', 'secret', 'call']) session.addEventListener(type, ({ detail }) => globalThis.details.push(detail));
    await session.connect();
    return { callId: session.callId, state: session.state };
  }, options);
}

function mint(page, options) {
  return page.evaluate(async (given) => {
    const { requestSecret } = await import('/demo/ephemint.js');
    try {
      await requestSecret({ ...given, getToken: () => given.token });
      return {};
    } catch ({ code, status, source, requestId, retryAfter, message }) {
      return { failed: { code, status, source, requestId, retryAfter, message } };
    }
  }, options);
}
