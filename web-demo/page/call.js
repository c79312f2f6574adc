// One call at a time: from the click to the end, and what each event of the session changes on the page.
import { Session } from '../ephemint.js';
import { announce, byId, show } from './dom.js';
import { hideProblem, showProblem } from './problem.js';
import { hideSecret, secretForgotten, showSecret } from './secret-card.js';
import { Steps } from './steps.js';
import { TOOLS } from './tools.js';
import { showUsage, startClock, stopClock } from './usage-card.js';
import { adviceFor } from './refusals.js';

const STAGES = {
  microphone: ['Waiting for your microphone', 'Your browser may ask. The client secret is being fetched meanwhile.'],
  secret: ['Fetching a client secret', 'Ephemint checks your sign-in and asks the provider.'],
  call: ['Calling', 'Your browser talks to the realtime API directly.'],
  waiting: ['Reconnecting', 'The connection broke. A fresh secret is fetched in a moment.'],
};
const GOODBYES = {
  closed: ['Call ended', 'You hung up. The microphone is off.'],
  hung_up: ['Call ended', 'The assistant hung up. The microphone is off.'],
  lost: ['Connection lost', 'The microphone is off.'],
  failed: ['Not connected', 'The microphone is off.'],
};
const PLACEHOLDERS = { connected: 'Type to the assistant', closed: 'Start the call to type' };
const SPEAK = 'Speak, or type below.';
/** Applied to the first call of a session only, so that reconnecting can be seen to work. */
const ONCE = new Set(['drops_mid_call', 'expires']);

export class Call {
  #meters;
  #conversation;
  #log;
  #session;
  #steps = new Steps();

  constructor({ meters, conversation, log }) {
    this.#meters = meters;
    this.#conversation = conversation;
    this.#log = log;
  }

  /** A call is being opened or is open. */
  get active() {
    return this.#session !== undefined;
  }

  /** @param {{ user: object, profile: string, voice: string, scenario: string, listenOnly: boolean }} wish */
  async start({ user, profile, voice, scenario, listenOnly }) {
    if (this.active) return;
    this.#prepare();
    const session = new Session({
      baseUrl: user.baseUrl,
      getToken: user.getToken,
      profile,
      session: voice ? { audio: { output: { voice } } } : undefined,
      microphone: !listenOnly,
      audio: byId('voice-out'),
      tools: TOOLS,
      callsQuery: (index) => (scenario && !(index > 0 && ONCE.has(scenario)) ? { scenario } : {}),
    });
    this.#session = session;
    this.#listen(session);
    byId('hang-up').focus();
    try {
      await session.connect();
      session.send({ type: 'response.create' }); // the assistant says hello first
    } catch {
      // The state `closed` has said it already.
    }
  }

  async hangUp() {
    await this.#session?.close();
  }

  sendText(text) {
    if (this.#session?.state !== 'connected') return false;
    this.#session.sendText(text);
    return true;
  }

  toggleMute() {
    const session = this.#session;
    if (!session || byId('mute').disabled) return;
    session.setMuted(!session.muted);
    this.#showMute(session.muted);
    announce(session.muted ? 'Microphone muted' : 'Microphone on');
  }

  #prepare() {
    hideProblem();
    hideSecret();
    this.#conversation.clear();
    this.#log.clear();
    this.#steps.begin({ greeted: true });
    this.#meters.start();
    this.#showMute(false);
    showUsage({});
    show(byId('call-id-row'), false);
    byId('usage-time').textContent = '0:00';
  }

  #listen(session) {
    const on = (type, act) => session.addEventListener(type, ({ detail }) => act(detail));
    on('state', (detail) => this.#onState(session, detail));
    on('secret', (detail) => {
      showSecret(detail);
      this.#steps.reach('secret');
      this.#log.add('page', { type: 'secret minted', ends_in: detail.hint, expires_at: detail.expiresAt, profile: detail.profile });
    });
    on('call', ({ callId }) => {
      byId('call-id').textContent = callId ?? '';
      show(byId('call-id-row'), Boolean(callId));
      this.#steps.reach('call');
      secretForgotten();
    });
    on('track', ({ stream }) => this.#meters.listen('assistant', stream));
    on('event', (event) => {
      this.#log.add('received', event);
      this.#onServerEvent(event);
    });
    on('sent', (event) => this.#log.add('sent', event));
    on('transcript', (line) => this.#conversation.line(line));
    on('usage', showUsage);
    on('tool', (call) => this.#conversation.tool(call));
    on('error', (error) => {
      const { title, advice } = adviceFor(error);
      this.#conversation.note(error.code === 'provider_error' && error.upstreamCode === undefined ? error.message : `${title}. ${advice}`, 'problem');
    });
  }

  #onState(session, { state, stage, attempt, reconnected, reason, error }) {
    this.#log.add('page', { type: stage ? `${state}: ${stage}` : state, attempt, reason });
    const calling = state === 'connecting' || state === 'reconnecting';
    if (calling && stage) {
      const [text, hint] = STAGES[stage];
      this.#tell(state, state === 'reconnecting' ? 'Reconnecting' : text, attempt > 1 ? `${hint} Try ${attempt}.` : hint);
    }
    if (state === 'reconnecting' && stage === 'waiting') {
      this.#meters.listen('assistant', null);
      this.#steps.begin({ greeted: false });
    }
    if (state === 'connected') this.#onConnected(session, reconnected);
    if (state === 'closed') this.#onClosed(reason, error);
    this.#enable(state);
  }

  #onConnected(session, reconnected) {
    this.#meters.listen('user', session.localStream);
    if (reconnected) {
      this.#conversation.note('Connected again with a fresh secret. This is a new session: the assistant does not know what was said before.');
    } else {
      startClock();
    }
    const typing = session.localStream === null;
    this.#tell('connected', typing ? 'Connected, without microphone' : 'You are connected', typing ? 'Type below; the assistant answers aloud.' : SPEAK);
    byId('mute').disabled = typing;
  }

  #onClosed(reason, error) {
    this.#session = undefined;
    stopClock();
    secretForgotten();
    this.#meters.stop();
    const [text, hint] = GOODBYES[reason] ?? GOODBYES.closed;
    this.#tell('closed', text, hint);
    if (error && reason !== 'closed') showProblem(error);
    else byId('connect').focus();
  }

  /** What is going on in the call, in two words. */
  #onServerEvent({ type }) {
    const texts = {
      'input_audio_buffer.speech_started': 'You are speaking',
      'input_audio_buffer.speech_stopped': 'Thinking',
      'output_audio_buffer.started': 'Assistant speaking',
      'output_audio_buffer.stopped': 'Listening',
      'output_audio_buffer.cleared': 'Listening',
    };
    if (type === 'output_audio_buffer.started') this.#steps.reach('audio');
    if (texts[type] && this.#session?.state === 'connected') byId('state-text').textContent = texts[type];
  }

  #tell(state, text, hint) {
    byId('screen').dataset.state = state;
    byId('state-text').textContent = text;
    byId('state-hint').textContent = hint;
    announce(text);
  }

  #enable(state) {
    const connected = state === 'connected';
    show(byId('controls'), state !== 'closed');
    show(byId('connect'), state === 'closed');
    for (const select of byId('choices').querySelectorAll('select')) select.disabled = state !== 'closed';
    show(byId('ideas'), connected);
    byId('text').disabled = !connected;
    byId('text').placeholder = PLACEHOLDERS[state] ?? 'One moment …';
    byId('send').disabled = !connected;
    if (!connected) byId('mute').disabled = true;
    else if (this.#session?.localStream) byId('mute').disabled = false;
    if (state === 'closed' && byId('problem').hidden) byId('connect').focus();
  }

  #showMute(muted) {
    const button = byId('mute');
    button.setAttribute('aria-pressed', String(muted));
    button.querySelector('span').textContent = muted ? 'Muted' : 'Mute';
    byId('screen').classList.toggle('muted', muted);
    if (this.#session?.state === 'connected') byId('state-hint').textContent = muted ? 'Your microphone is muted. You can still type.' : SPEAK;
  }
}
