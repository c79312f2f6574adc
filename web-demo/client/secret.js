// Client secrets: asked for with the user's own token or session, handed on once, never kept.
import { EphemintError, refusal } from './errors.js';
import { unlessAborted, wait } from './wait.js';

const LONGEST_WAIT_SECONDS = 10;
const NETWORK_PAUSE_MS = 500;
const ANSWER_MS = 20_000;
/** Waiting does not help: the user has to end a session, or the month has to end. */
const NOT_BY_WAITING = new Set(['concurrency_limited', 'quota_exhausted', 'locked_down']);

/**
 * Trades the user's token for a client secret.
 *
 * One `Idempotency-Key` covers all attempts, so that a retry is booked once. `token_expired` asks `getToken` once more, with
 * `{ renew: true }`. A refusal with `Retry-After` of at most 10 seconds, and a network failure, are tried once more.
 *
 * @param {import("../ephemint.js").SecretOptions} options
 * @returns {Promise<import("../ephemint.js").ClientSecret>}
 * @throws {EphemintError} or the signal's reason
 */
export async function requestSecret(options) {
  const { signal } = options;
  const idempotencyKey = randomKey();
  let renew = false;
  let retried = false;
  for (;;) {
    const token = await userToken(options, renew);
    try {
      return await unlessGivenUp(ask(options, token, idempotencyKey), options);
    } catch (error) {
      if (!(error instanceof EphemintError)) throw error;
      if (error.code === 'token_expired' && !renew && options.getToken) {
        renew = true;
        continue;
      }
      const pause = retried ? undefined : pauseBeforeRetry(error);
      if (pause === undefined) throw error;
      retried = true;
      await wait(pause, signal);
    }
  }
}

/**
 * Only the secret's value: what `apiKey: () => clientSecret(options)` of `@openai/agents-realtime` wants.
 *
 * @param {import("../ephemint.js").SecretOptions} options
 * @returns {Promise<string>}
 */
export async function clientSecret(options) {
  return (await requestSecret(options)).value;
}

/** Ends the user's session at Ephemint, which frees its place among the concurrent calls. Tells nobody when it fails. */
export async function endSession(options, sessionId) {
  try {
    const token = await userToken({ ...options, signal: undefined }, false);
    await fetch(endpoint(options.baseUrl, `v1/sessions/${encodeURIComponent(sessionId)}`), {
      ...REQUEST,
      ...as(token),
      method: 'DELETE',
      keepalive: true,
      signal: AbortSignal.timeout(ANSWER_MS),
    });
  } catch {
    // The place becomes free by itself when the session expires.
  }
}

/** Tells Ephemint which call was opened with the session's secret, so that it can meter and end it. */
export async function reportCall(options, sessionId, callId) {
  const token = await userToken(options, false);
  const response = await reach(options, `v1/sessions/${encodeURIComponent(sessionId)}/call`, {
    ...as(token, { 'content-type': 'application/json' }),
    method: 'POST',
    body: JSON.stringify({ call_id: callId }),
  });
  if (!response.ok) throw await refusal(response);
}

const REQUEST = { cache: 'no-store', redirect: 'error', referrerPolicy: 'no-referrer' };

/** Who asks: the user whose token this is, or without one whoever has signed in at Ephemint in this browser. */
function as(token, headers = {}) {
  if (token === undefined) return { credentials: 'same-origin', headers };
  return { credentials: 'omit', headers: { ...headers, authorization: `Bearer ${token}` } };
}

async function userToken({ getToken, signal }, renew) {
  signal?.throwIfAborted();
  if (getToken === undefined) return undefined;
  try {
    const token = await getToken({ renew });
    if (typeof token === 'string' && token !== '') return sendable(token);
  } catch (cause) {
    if (cause instanceof EphemintError) throw cause;
    throw new EphemintError('sign_in_failed', 'The app could not get an access token for you.', { cause });
  } finally {
    signal?.throwIfAborted();
  }
  throw new EphemintError('sign_in_failed', 'The app has no access token for you.');
}

/** What an `Authorization` header can carry; the browser would call everything else a network failure. */
function sendable(token) {
  const place = strangeCharacter(token);
  if (place === 0) return token;
  throw new EphemintError('malformed_token', `Character ${place} of the access token cannot be part of a token: it is no letter, digit or sign of ASCII.`);
}

/** Where the first character is that no token has, from 1; 0: nowhere. */
export function strangeCharacter(token) {
  return Array.from(token).findIndex((character) => !/^[!-~]$/.test(character)) + 1;
}

/** A mint cannot be taken back on its way: what comes of it after an abort is ended at the service. */
function unlessGivenUp(asking, options) {
  const { signal } = options;
  asking.then(({ sessionId }) => signal?.aborted && endSession(options, sessionId), () => {});
  return unlessAborted(asking, signal);
}

async function ask(options, token, idempotencyKey) {
  const { profile, session, ttlSeconds } = options;
  const query = profile === undefined ? '' : `?${new URLSearchParams({ profile })}`;
  const response = await reach({ ...options, signal: undefined }, `v1/realtime/client_secrets${query}`, {
    ...as(token, { 'content-type': 'application/json', 'idempotency-key': idempotencyKey }),
    method: 'POST',
    body: JSON.stringify({
      ...(ttlSeconds !== undefined && { expires_after: { anchor: 'created_at', seconds: ttlSeconds } }),
      ...(session !== undefined && { session }),
    }),
  });
  if (!response.ok) throw await refusal(response);
  return read(response);
}

async function read(response) {
  const requestId = response.headers.get('x-request-id') ?? undefined;
  let body;
  try {
    body = await response.json();
  } catch (cause) {
    throw new EphemintError('malformed_answer', 'The service answered in an unexpected form.', { source: 'ephemint', requestId, cause });
  }
  const { value, expires_at: expiresAt, session, ephemint } = body ?? {};
  if (typeof value !== 'string' || typeof expiresAt !== 'number' || typeof ephemint?.calls_url !== 'string') {
    throw new EphemintError('malformed_answer', 'The service answered in an unexpected form.', { source: 'ephemint', requestId });
  }
  return { value, expiresAt, session, sessionId: ephemint.session_id, profile: ephemint.profile, callsUrl: ephemint.calls_url, requestId };
}

async function reach({ baseUrl, signal }, path, init) {
  const timeout = AbortSignal.timeout(ANSWER_MS);
  try {
    return await fetch(endpoint(baseUrl, path), { ...REQUEST, ...init, signal: signal ? AbortSignal.any([signal, timeout]) : timeout });
  } catch (cause) {
    signal?.throwIfAborted();
    if (timeout.aborted) throw new EphemintError('no_answer', 'The service did not answer in time.', { cause });
    throw new EphemintError('unreachable', 'The service cannot be reached from this page.', { cause });
  }
}

function endpoint(baseUrl = '', path) {
  return new URL(path, `${(baseUrl || globalThis.location?.origin).replace(/\/+$/, '')}/`);
}

/** Milliseconds, or undefined when another attempt would not help. */
function pauseBeforeRetry({ code, status, retryAfter }) {
  if (code === 'unreachable') return NETWORK_PAUSE_MS;
  if (NOT_BY_WAITING.has(code) || (status !== 429 && status !== 503)) return undefined;
  return retryAfter !== undefined && retryAfter <= LONGEST_WAIT_SECONDS ? retryAfter * 1000 : undefined;
}

function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
