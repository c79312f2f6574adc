/**
 * Voice sessions in the browser with client secrets from Ephemint.
 *
 *     import { connect } from "./ephemint.js";
 *
 *     const session = await connect({ baseUrl: "https://voice.example.com", getToken: () => user.accessToken() });
 *     session.addEventListener("transcript", ({ detail }) => console.log(detail.role, detail.text));
 *     session.sendText("What is on my calendar today?");
 *
 * No dependencies, no build step. The secret lives in local variables from the answer of Ephemint to the SDP exchange and nowhere
 * else: not in storage, not in a URL, not in a log, not on the session object. Types: `ephemint.d.ts`.
 */
import { openCall } from './client/call.js';
import { EphemintError } from './client/errors.js';
import { openMicrophone } from './client/microphone.js';
import { endSession, reportCall, requestSecret } from './client/secret.js';
import { Transcript } from './client/transcript.js';
import { NOTHING_USED, addUsage } from './client/usage.js';
import { online, wait } from './client/wait.js';

export { EphemintError, redact } from './client/errors.js';
export { createMeter } from './client/meter.js';
export { clientSecret, requestSecret } from './client/secret.js';

const RECONNECT_TRIES = 3;
const FIRST_PAUSE_MS = 500;
const OFFLINE_MS = 60_000;
/** A call that held this long has earned a full set of tries again. */
const STEADY_MS = 30_000;
/** A secret with less than this left is not worth a call; the clock may be off, so a second one is used as it is. */
const LEAST_SECONDS = 3;

/**
 * Opens a session: microphone, client secret, WebRTC call. Resolves when the session takes events.
 *
 * @param {import("./ephemint.js").ConnectOptions} options
 * @returns {Promise<Session>}
 * @throws {EphemintError}
 */
export async function connect(options) {
  const session = new Session(options);
  await session.connect();
  return session;
}

/**
 * A voice session. Make one with `new Session(options)` when you want to hear its events while it connects, otherwise with `connect`.
 * Events (all `CustomEvent`): `state`, `secret`, `call`, `track`, `event`, `sent`, `transcript`, `usage`, `tool`, `error`.
 */
export class Session extends EventTarget {
  #options;
  #ended = new AbortController();
  #state = 'idle';
  #microphone = null;
  #muted = false;
  #audio;
  #call = null;
  #sessionId;
  #callId;
  #remote = null;
  #transcript = new Transcript();
  #usage = NOTHING_USED;
  #calls = 0;
  #triesLeft;
  #connectedAt = 0;
  /** The assistant is writing (`generating`), or its words are still being played (`playing`). */
  #speech = { generating: false, playing: false };
  #answerNext = false;

  /** @param {import("./ephemint.js").ConnectOptions} options */
  constructor(options) {
    super();
    this.#options = { microphone: true, reconnect: RECONNECT_TRIES, ...options };
    this.#triesLeft = this.#options.reconnect;
    this.#audio = options.audio === undefined ? new Audio() : options.audio;
    const { signal } = options;
    signal?.addEventListener('abort', () => void this.#end('closed', undefined, signal.reason), { signal: this.#ended.signal });
  }

  /** `idle`, `connecting`, `connected`, `reconnecting` or `closed`. */
  get state() { return this.#state; }
  /** The realtime API's id of the current call, where the API lets pages read it. */
  get callId() { return this.#callId; }
  /** Ephemint's id of the current session. */
  get sessionId() { return this.#sessionId; }
  /** What the user says; null when only listening. */
  get localStream() { return this.#microphone?.stream ?? null; }
  /** What the assistant says. */
  get remoteStream() { return this.#remote; }
  /** Tokens used so far. */
  get usage() { return this.#usage; }
  get muted() { return this.#muted; }

  /** `RTCPeerConnection.getStats` of the current call. */
  async getStats() {
    return this.#call?.peer.getStats();
  }

  /** Connects once; resolves when the session takes events. */
  async connect() {
    if (this.#state !== 'idle') throw new EphemintError('already_connected', 'A session connects once; make a new one.');
    this.#options.signal?.throwIfAborted();
    this.#setState('connecting', { stage: 'microphone' });
    try {
      await this.#dial(await this.#prepare());
      this.#setState('connected');
    } catch (error) {
      const reason = this.#ended.signal.aborted ? this.#ended.signal.reason : error;
      await this.#end('failed', reason);
      throw reason;
    }
  }

  /** Sends a client event of the realtime API. */
  send(event) {
    if (this.#state !== 'connected') throw new EphemintError('not_connected', 'There is no call to send this on.');
    this.#call.send(event);
    this.#emit('sent', event);
  }

  /** Says something in writing. It interrupts the assistant, as speech does. */
  sendText(text) {
    this.send({ type: 'conversation.item.create', item: { type: 'message', role: 'user', content: [{ type: 'input_text', text }] } });
    if (this.#speech.playing) this.send({ type: 'output_audio_buffer.clear' });
    if (this.#speech.generating) {
      this.send({ type: 'response.cancel' });
      this.#answerNext = true;
    } else {
      this.send({ type: 'response.create' });
    }
  }

  /** Stops or resumes what the microphone sends; the call goes on. */
  setMuted(muted) {
    this.#muted = Boolean(muted);
    for (const track of this.localStream?.getAudioTracks() ?? []) track.enabled = !this.#muted;
  }

  /** Hangs up, stops the microphone, and ends the session at Ephemint. Works in every state, any number of times. */
  async close() {
    await this.#end('closed', undefined, new EphemintError('closed', 'The session was closed.'));
  }

  /** Asks for the microphone and for the secret at the same time, because people take seconds to answer a prompt. */
  async #prepare() {
    const prefetch = this.#secret();
    prefetch.catch(() => {});
    const opening = openMicrophone(this.#options.microphone, this.#ended.signal).then((microphone) => {
      this.#microphone = microphone;
      this.setMuted(this.#muted);
    });
    try {
      await Promise.race([opening, prefetch.then(() => opening)]);
    } catch (error) {
      opening.then(() => this.#microphone.stop(), () => {});
      prefetch.then(({ sessionId }) => this.#release(sessionId), () => {});
      throw error;
    }
    this.#setState('connecting', { stage: 'secret' });
    const secret = await prefetch;
    if (secret.expiresAt - Date.now() / 1000 >= LEAST_SECONDS) return secret;
    return this.#replace(secret);
  }

  async #secret() {
    const secret = await requestSecret({ ...this.#options, signal: this.#ended.signal });
    this.#emit('secret', { hint: secret.value.slice(-4), expiresAt: secret.expiresAt, sessionId: secret.sessionId, profile: secret.profile });
    return secret;
  }

  async #replace({ sessionId }) {
    await this.#release(sessionId);
    return this.#secret();
  }

  /** Places the call; a secret that has expired on the way is replaced once. */
  async #dial(secret) {
    this.#setState(this.#state, { stage: 'call' });
    try {
      await this.#place(secret);
    } catch (error) {
      if (error.code !== 'secret_rejected') {
        void this.#release(secret.sessionId);
        throw error;
      }
      const fresh = await this.#replace(secret);
      await this.#place(fresh).catch((again) => {
        void this.#release(fresh.sessionId);
        throw again;
      });
    }
  }

  async #place({ value, callsUrl, sessionId }) {
    const url = new URL(callsUrl);
    const query = this.#options.callsQuery;
    for (const [name, wish] of Object.entries((typeof query === 'function' ? query(this.#calls) : query) ?? {})) url.searchParams.set(name, wish);
    this.#calls += 1;
    this.#call = await openCall({
      url,
      secret: value,
      stream: this.localStream,
      signal: this.#ended.signal,
      onEvent: (event) => this.#receive(event),
      onTrack: (stream) => this.#play(stream),
      onEnd: (how) => void this.#onEnd(how),
    });
    this.#sessionId = sessionId;
    this.#callId = this.#call.callId;
    this.#connectedAt = Date.now();
    this.#emit('call', { callId: this.#callId, sessionId });
    if (this.#options.reportCall !== false && this.#callId) {
      reportCall({ ...this.#options, signal: this.#ended.signal }, sessionId, this.#callId)
        .catch((error) => this.#ended.signal.aborted || this.#fail(error)); // the call goes on
    }
  }

  #play(stream) {
    this.#remote = stream;
    if (this.#audio) {
      this.#audio.srcObject = stream;
      this.#audio.play().catch(() => {}); // a page that was never clicked may not make a sound
    }
    this.#emit('track', { stream });
  }

  #receive(event) {
    this.#emit('event', event);
    for (const line of this.#transcript.apply(event)) this.#emit('transcript', line);
    const used = addUsage(this.#usage, event);
    if (used !== this.#usage) {
      this.#usage = used;
      this.#emit('usage', used);
    }
    switch (event.type) {
      case 'response.created':
        this.#speech.generating = true;
        break;
      case 'output_audio_buffer.started':
        this.#speech.playing = true;
        break;
      case 'output_audio_buffer.stopped':
      case 'output_audio_buffer.cleared':
        this.#speech.playing = false;
        break;
      case 'response.done':
        this.#speech.generating = false;
        void this.#onResponse(event.response ?? {});
        break;
      case 'error':
        this.#fail(providerError(event.error));
        break;
    }
  }

  /** Answers function calls, and a text that came in between. */
  async #onResponse({ status, status_details: details, output = [] }) {
    if (status === 'failed') this.#fail(providerError(details?.error));
    const { tools } = this.#options;
    const wanted = tools ? output.filter((item) => item.type === 'function_call') : [];
    const call = this.#call;
    await Promise.all(wanted.map((item) => this.#answerTool(item, tools)));
    if (this.#state !== 'connected' || call !== this.#call) return;
    this.#answerNext ||= wanted.length > 0;
    if (this.#answerNext && !this.#speech.generating) {
      this.#answerNext = false;
      this.send({ type: 'response.create' });
    }
  }

  async #answerTool({ call_id: id, name, arguments: text }, tools) {
    const call = this.#call;
    let output;
    this.#emit('tool', { id, name, arguments: text, output: undefined });
    try {
      if (!Object.hasOwn(tools, name)) throw new Error(`There is no function named ${name}.`);
      output = await tools[name](JSON.parse(text || '{}'));
    } catch (error) {
      output = { error: error instanceof Error ? error.message : 'The function failed.' };
    }
    this.#emit('tool', { id, name, arguments: text, output });
    if (this.#state === 'connected' && call === this.#call) {
      this.send({ type: 'conversation.item.create', item: { type: 'function_call_output', call_id: id, output: JSON.stringify(output ?? null) } });
    }
  }

  /** The other side is gone. Who closes the line has hung up, and is not called again; a line that broke is. */
  async #onEnd(how) {
    if (this.#state !== 'connected') return;
    this.#hangUp();
    if (how === 'hung_up') return this.#end('hung_up');
    if (Date.now() - this.#connectedAt >= STEADY_MS) this.#triesLeft = this.#options.reconnect;
    await this.#reconnect();
  }

  async #reconnect() {
    const signal = this.#ended.signal;
    let last = new EphemintError('connection_lost', 'The connection was lost.');
    for (let attempt = 1; this.#triesLeft > 0; attempt += 1) {
      this.#triesLeft -= 1;
      try {
        this.#setState('reconnecting', { attempt, stage: 'waiting' });
        await wait(FIRST_PAUSE_MS * 2 ** (attempt - 1) * (0.75 + Math.random() / 2), signal);
        await online(OFFLINE_MS, signal);
        await this.#release(this.#sessionId);
        this.#setState('reconnecting', { attempt, stage: 'secret' });
        await this.#dial(await this.#secret());
        return this.#setState('connected', { reconnected: true });
      } catch (error) {
        if (signal.aborted) return undefined;
        last = error;
      }
    }
    return this.#end('lost', last);
  }

  #hangUp() {
    this.#call?.close();
    this.#call = null;
    this.#speech = { generating: false, playing: false };
    this.#answerNext = false;
    for (const line of this.#transcript.finish()) this.#emit('transcript', line);
  }

  async #end(reason, error, abort = error) {
    if (this.#ended.signal.aborted) return;
    this.#ended.abort(abort ?? new EphemintError('closed', 'The session has ended.'));
    this.#hangUp();
    this.#microphone?.stop();
    if (this.#audio) this.#audio.srcObject = null;
    this.#setState('closed', { reason, error });
    await this.#release(this.#sessionId);
  }

  async #release(sessionId) {
    if (sessionId === undefined) return;
    if (sessionId === this.#sessionId) this.#sessionId = undefined;
    await endSession(this.#options, sessionId);
  }

  #setState(state, detail = {}) {
    if (this.#state === 'closed') return;
    this.#state = state;
    this.#emit('state', { state, ...detail });
  }

  #fail(error) {
    this.#emit('error', error);
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** What the provider says on the data channel is wrong; the session usually goes on. */
function providerError(error) {
  return new EphemintError('provider_error', error?.message || 'The realtime API reports an error.', {
    source: 'upstream',
    upstreamCode: error?.code ?? error?.type ?? undefined,
    param: error?.param ?? undefined,
  });
}
