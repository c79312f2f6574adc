// One WebRTC call to the realtime API: offer, answer, data channel, audio both ways.
import { EphemintError, callRefusal } from './errors.js';

const ANSWER_MS = 20_000;
const OPEN_MS = 15_000;
/** A connection that is "disconnected" often comes back by itself. */
const GRACE_MS = 3_000;

/**
 * Places a call. The secret is used for one request and not kept.
 *
 * @param {{ url: URL, secret: string, stream: MediaStream | null, signal: AbortSignal,
 *           onEvent(event: object): void, onTrack(stream: MediaStream): void, onEnd(how: "hung_up" | "lost"): void }} options
 * @returns {Promise<{ peer: RTCPeerConnection, callId: string | undefined, send(event: object): void, close(): void }>}
 */
export async function openCall({ url, secret, stream, signal, onEvent, onTrack, onEnd }) {
  const peer = new RTCPeerConnection();
  const channel = peer.createDataChannel('oai-events');
  const ending = watch(peer, channel, onEnd);
  const close = () => {
    ending.abort();
    channel.close();
    peer.close();
  };
  try {
    channel.addEventListener('message', ({ data }) => {
      const event = parse(data);
      if (event) onEvent(event);
    });
    peer.addEventListener('track', ({ track, streams }) => onTrack(streams[0] ?? new MediaStream([track])));
    addAudio(peer, stream);
    await peer.setLocalDescription(await peer.createOffer());
    const { sdp, callId } = await exchange({ url, secret, offer: peer.localDescription.sdp, signal });
    signal.throwIfAborted();
    await peer.setRemoteDescription({ type: 'answer', sdp }).catch((cause) => {
      throw new EphemintError('call_failed', 'The realtime API answered with a description that the browser cannot use.', { cause });
    });
    await opened(peer, channel, signal);
    return { peer, callId, send: (event) => channel.send(JSON.stringify(event)), close };
  } catch (error) {
    close();
    throw error;
  }
}

function addAudio(peer, stream) {
  const tracks = stream?.getAudioTracks() ?? [];
  if (tracks.length === 0) peer.addTransceiver('audio', { direction: 'recvonly' });
  for (const track of tracks) peer.addTrack(track, stream);
}

async function exchange({ url, secret, offer, signal }) {
  const timeout = AbortSignal.timeout(ANSWER_MS);
  let response;
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: { authorization: `Bearer ${secret}`, 'content-type': 'application/sdp' },
      body: offer,
      cache: 'no-store',
      credentials: 'omit',
      redirect: 'error',
      referrerPolicy: 'no-referrer',
      signal: AbortSignal.any([signal, timeout]),
    });
  } catch (cause) {
    signal.throwIfAborted();
    if (timeout.aborted) throw new EphemintError('call_no_answer', 'The realtime API did not answer in time.', { cause });
    throw new EphemintError('call_unreachable', 'The realtime API cannot be reached from this page.', { cause });
  }
  if (!response.ok) throw await callRefusal(response);
  // `/v1/realtime/calls/rtc_...`; readable only where the API exposes the header.
  const callId = response.headers.get('location')?.split(/[?#]/)[0].split('/').filter(Boolean).at(-1);
  return { sdp: await response.text(), callId };
}

/** Resolves when the data channel is open: from then on the session takes events. */
function opened(peer, channel, signal) {
  return new Promise((resolve, reject) => {
    const done = new AbortController();
    const settle = (then, value) => {
      done.abort();
      clearTimeout(timer);
      then(value);
    };
    const fail = (message) => settle(reject, new EphemintError('call_failed', message));
    const timer = setTimeout(fail, OPEN_MS, 'No connection for audio came about in time.');
    const options = { signal: done.signal };
    signal.addEventListener('abort', () => settle(reject, signal.reason), options);
    channel.addEventListener('open', () => settle(resolve), options);
    channel.addEventListener('close', () => fail('The realtime API ended the call before it began.'), options);
    peer.addEventListener('connectionstatechange', () => {
      if (peer.connectionState === 'failed') fail('No connection for audio came about.');
    }, options);
    if (channel.readyState === 'open') settle(resolve);
  });
}

/**
 * Calls `onEnd` once, when an open call ends from the other side: `hung_up` when the other side closed it, `lost` when the
 * connection broke. Aborting what it returns ends the watch.
 */
function watch(peer, channel, onEnd) {
  const watching = new AbortController();
  let grace;
  let wasOpen = false;
  const end = (how) => {
    if (watching.signal.aborted || !wasOpen) return;
    watching.abort();
    onEnd(how);
  };
  watching.signal.addEventListener('abort', () => clearTimeout(grace));
  const options = { signal: watching.signal };
  channel.addEventListener('open', () => { wasOpen = true; }, options);
  channel.addEventListener('close', () => end(['failed', 'disconnected'].includes(peer.iceConnectionState) ? 'lost' : 'hung_up'), options);
  peer.addEventListener('connectionstatechange', () => {
    clearTimeout(grace);
    if (peer.connectionState === 'failed') end('lost');
    if (peer.connectionState === 'disconnected') grace = setTimeout(end, GRACE_MS, 'lost');
  }, options);
  return watching;
}

function parse(data) {
  try {
    const event = JSON.parse(data);
    return typeof event?.type === 'string' ? event : undefined;
  } catch {
    return undefined;
  }
}
