// The parts of the client module that need no browser.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { EphemintError, callRefusal, redact, refusal } from '../../web-demo/client/errors.js';
import { clientSecret, requestSecret } from '../../web-demo/client/secret.js';
import { Transcript } from '../../web-demo/client/transcript.js';
import { NOTHING_USED, addUsage } from '../../web-demo/client/usage.js';

const JSON_TYPE = { 'content-type': 'application/json' };

describe('a transcript', () => {
  const read = (events) => {
    const transcript = new Transcript();
    const lines = new Map();
    for (const event of events) for (const line of transcript.apply(event)) lines.set(line.id, line);
    return [...lines.values()].map(({ role, text, final }) => ({ role, text, final }));
  };

  test('keeps the place of spoken words until they are transcribed', () => {
    assert.deepEqual(read([
      { type: 'input_audio_buffer.speech_started', item_id: 'u1' },
      { type: 'response.output_audio_transcript.delta', item_id: 'a1', delta: 'Yes, ' },
      { type: 'response.output_audio_transcript.delta', item_id: 'a1', delta: 'I do.' },
      { type: 'conversation.item.input_audio_transcription.completed', item_id: 'u1', transcript: 'Do you hear me?' },
      { type: 'response.output_audio_transcript.done', item_id: 'a1', transcript: 'Yes, I do.' },
    ]), [{ role: 'user', text: 'Do you hear me?', final: true }, { role: 'assistant', text: 'Yes, I do.', final: true }]);
  });

  test('ends a line that was interrupted with what was said of it', () => {
    assert.deepEqual(read([
      { type: 'response.output_audio_transcript.delta', item_id: 'a1', delta: 'One, two' },
      { type: 'response.done', response: { status: 'cancelled' } },
    ]), [{ role: 'assistant', text: 'One, two', final: true }]);
  });

  test('waits for no words in a session that transcribes none', () => {
    assert.deepEqual(read([
      { type: 'session.created', session: { type: 'realtime', audio: { input: { transcription: null } } } },
      { type: 'conversation.item.added', item: { id: 'u1', type: 'message', role: 'user', content: [{ type: 'input_audio' }] } },
    ]), [{ role: 'user', text: '', final: true }]);
  });

  test('takes typed words as they are, and no notice of events it does not know', () => {
    assert.deepEqual(read([
      { type: 'conversation.item.added', item: { id: 't1', type: 'message', role: 'user', content: [{ type: 'input_text', text: 'Hello' }] } },
      { type: 'conversation.item.added', item: { id: 'f1', type: 'function_call_output' } },
      { type: 'conversation.item.added' },
      { type: 'something.new', item_id: 't1' },
    ]), [{ role: 'user', text: 'Hello', final: true }]);
  });
});

describe('usage', () => {
  test('adds up answers by kind, and transcription apart', () => {
    const response = {
      usage: { total_tokens: 253, input_token_details: { text_tokens: 119, audio_tokens: 13, cached_tokens: 64 }, output_token_details: { text_tokens: 30, audio_tokens: 91 } },
    };
    const events = [
      { type: 'response.done', response },
      { type: 'response.done', response },
      { type: 'conversation.item.input_audio_transcription.completed', usage: { type: 'tokens', total_tokens: 20 } },
      { type: 'conversation.item.input_audio_transcription.completed', usage: { type: 'duration', seconds: 1.5 } },
    ];
    assert.deepEqual(events.reduce(addUsage, NOTHING_USED), {
      responses: 2, inputText: 238, inputAudio: 26, inputCached: 128, outputText: 60, outputAudio: 182, transcription: 20, transcriptionSeconds: 1.5, total: 526,
    });
  });

  test('survives numbers that are missing or no numbers', () => {
    const odd = { type: 'response.done', response: { usage: { total_tokens: 'many', input_token_details: null } } };
    assert.deepEqual(addUsage(NOTHING_USED, odd), { ...NOTHING_USED, responses: 1 });
    assert.equal(addUsage(NOTHING_USED, { type: 'response.done', response: { usage: null } }), NOTHING_USED);
  });
});

describe('an error', () => {
  test('carries what problem details say', async () => {
    const error = await refusal(new Response(JSON.stringify({ code: 'rate_limited', detail: 'Wait.', request_id: 'r1', error: { param: '/x' } }), {
      status: 429, headers: { ...JSON_TYPE, 'retry-after': '7' },
    }));
    assert.ok(error instanceof EphemintError);
    const { code, status, message, requestId, retryAfter, param, source } = error;
    assert.deepEqual({ code, status, message, requestId, retryAfter, param, source },
      { code: 'rate_limited', status: 429, message: 'Wait.', requestId: 'r1', retryAfter: 7, param: '/x', source: 'ephemint' });
  });

  test('is still an error when the answer is no JSON, or all of it is empty', async () => {
    assert.equal((await refusal(new Response('<html>', { status: 502 }))).code, 'http_502');
    const empty = await callRefusal(new Response('{"error":{"message":"","type":"","code":"","param":""}}', { status: 400 }));
    assert.deepEqual([empty.code, empty.upstreamCode, empty.message], ['call_refused', undefined, 'The realtime API answered with status 400.']);
  });

  test('never repeats a secret', () => {
    const secret = 'ek_68af296e8e408191a1120ab6383263c2'; // ephemint:allow
    const token = 'eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl';
    const shown = redact(`Incorrect API key provided: ${secret}. ${token} sk-proj-1234567890`);
    assert.equal(shown, 'Incorrect API key provided: ek_••••63c2. eyJ•••• sk-••••7890');
    assert.ok(!new EphemintError('x', secret).message.includes(secret));
  });
});

describe('asking for a secret', () => {
  const MINTED = { value: 'ek_1', expires_at: 1_790_000_000, session: {}, ephemint: { session_id: 's1', profile: 'default', calls_url: 'https://api.example.com/calls' } };
  const options = { baseUrl: 'https://voice.example.com/', getToken: () => 'token' };

  /** Answers the module's requests in turn, and gives back what was asked. */
  async function answering(answers, act) {
    const asked = [];
    const { fetch } = globalThis;
    globalThis.fetch = async (url, init) => {
      asked.push({ url: String(url), key: init.headers['idempotency-key'], token: init.headers.authorization, method: init.method, body: init.body });
      const answer = answers.shift();
      if (answer instanceof Error) throw answer;
      return Response.json(answer.body ?? {}, { status: answer.status, headers: answer.headers });
    };
    try {
      await act(asked);
    } finally {
      globalThis.fetch = fetch;
    }
    return asked;
  }

  test('is one request with one key when all goes well', async () => {
    const asked = await answering([{ status: 200, body: MINTED }], async () => {
      assert.equal(await clientSecret({ ...options, profile: 'a b', ttlSeconds: 60 }), 'ek_1');
    });
    assert.equal(asked.length, 1);
    assert.equal(asked[0].url, 'https://voice.example.com/v1/realtime/client_secrets?profile=a+b');
    assert.deepEqual(JSON.parse(asked[0].body), { expires_after: { anchor: 'created_at', seconds: 60 } });
    assert.match(asked[0].key, /^[0-9a-f]{32}$/);
  });

  test('is refused before it is made with a token that no header can carry', async () => {
    for (const token of ['xyz\u0416en', 'xyz en', 'xyz\nen', 'xyz\u00e9n']) {
      const asked = await answering([], () => assert.rejects(requestSecret({ ...options, getToken: () => token }), (error) => {
        assert.deepEqual([error.code, error.source], ['malformed_token', 'browser']);
        assert.match(error.message, /^Character 4 of the access token/);
        assert.ok(!error.message.includes('xyz'), error.message);
        return true;
      }));
      assert.equal(asked.length, 0);
    }
  });

  test('is tried once more after a network failure, with the same key', async () => {
    const asked = await answering([new TypeError('Failed to fetch'), { status: 200, body: MINTED }], () => requestSecret(options));
    assert.equal(asked.length, 2);
    assert.equal(asked[0].key, asked[1].key);
  });

  test('renews an expired token once', async () => {
    const renewals = [];
    const expired = { status: 401, body: { code: 'token_expired' } };
    const getToken = ({ renew }) => { renewals.push(renew); return renew ? 'new' : 'old'; };
    const asked = await answering([expired, expired], () => assert.rejects(requestSecret({ ...options, getToken }), { code: 'token_expired' }));
    assert.deepEqual(renewals, [false, true]);
    assert.deepEqual(asked.map(({ token }) => token), ['Bearer old', 'Bearer new']);
  });

  test('does not wait for what waiting cannot change, nor for long', async () => {
    for (const [code, wait] of [['quota_exhausted', '1'], ['concurrency_limited', '1'], ['rate_limited', '11']]) {
      const asked = await answering([{ status: 429, body: { code }, headers: { 'retry-after': wait } }], () => assert.rejects(requestSecret(options), { code }));
      assert.equal(asked.length, 1, code);
    }
  });

  test('stops waiting when it is aborted, and ends what was minted meanwhile', async () => {
    const stop = new AbortController();
    let answer;
    const late = new Promise((resolve) => { answer = resolve; });
    const asked = await answering([], async (requests) => {
      globalThis.fetch = (url, { method }) => {
        requests.push({ url: String(url), method });
        return method === 'DELETE' ? Promise.resolve(new Response(null, { status: 204 })) : late;
      };
      const asking = requestSecret({ ...options, signal: stop.signal });
      setTimeout(() => stop.abort(new Error('enough')), 20);
      await assert.rejects(asking, /enough/);
      answer(Response.json(MINTED));
      await new Promise((resolve) => setTimeout(resolve, 20));
    });
    assert.deepEqual(asked.map(({ method, url }) => `${method} ${new URL(url).pathname}`), ['POST /v1/realtime/client_secrets', 'DELETE /v1/sessions/s1']);
  });

  test('says so when the answer is not one of Ephemint', async () => {
    await answering([{ status: 200, body: { value: 'ek_1' } }], () => assert.rejects(requestSecret(options), { code: 'malformed_answer' }));
  });
});
