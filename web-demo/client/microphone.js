// The microphone, and plain words for why there is none.
import { EphemintError } from './errors.js';
import { unlessAborted } from './wait.js';

const SPEECH = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

const REASONS = {
  NotAllowedError: ['microphone_denied', 'The browser did not let this page use the microphone.'],
  SecurityError: ['microphone_denied', 'The browser did not let this page use the microphone.'],
  NotFoundError: ['microphone_missing', 'No microphone was found.'],
  OverconstrainedError: ['microphone_missing', 'No microphone fits what was asked for.'],
  NotReadableError: ['microphone_busy', 'The microphone is in use by another program.'],
  AbortError: ['microphone_busy', 'The microphone could not be started.'],
};

/**
 * @param {boolean | MediaTrackConstraints | MediaStream} wish
 * @param {AbortSignal} signal the prompt cannot be taken back; what it gives after an abort is stopped at once
 * @returns {Promise<{ stream: MediaStream | null, stop(): void }>}
 */
export async function openMicrophone(wish, signal) {
  if (wish === false) return { stream: null, stop() {} };
  if (wish instanceof MediaStream) return { stream: wish, stop() {} };
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new EphemintError('insecure_page', 'Browsers give the microphone only to pages served over HTTPS or from this machine.');
  }
  const opening = navigator.mediaDevices.getUserMedia({ audio: { ...SPEECH, ...(wish === true ? {} : wish) } });
  try {
    const stream = await unlessAborted(opening, signal);
    return { stream, stop: () => stop(stream) };
  } catch (cause) {
    if (signal.aborted) {
      opening.then(stop, () => {});
      throw signal.reason;
    }
    const [code, message] = REASONS[cause?.name] ?? ['microphone_missing', 'The microphone could not be opened.'];
    throw new EphemintError(code, message, { cause });
  }
}

function stop(stream) {
  for (const track of stream.getTracks()) track.stop();
}
