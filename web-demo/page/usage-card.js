// What the call has used: tokens, responses, time.
import { byId } from './dom.js';

const FIELDS = ['inputAudio', 'inputText', 'outputAudio', 'outputText', 'total', 'responses'];
const number = new Intl.NumberFormat('en');

let ticking;

/** @param {Record<string, number>} usage */
export function showUsage(usage) {
  for (const field of FIELDS) byId(`usage-${field}`).textContent = number.format(usage[field] ?? 0);
  const extra = [
    usage.inputCached > 0 && `${number.format(usage.inputCached)} of the input from cache`,
    usage.transcription > 0 && `${number.format(usage.transcription)} for transcription`,
    usage.transcriptionSeconds > 0 && `${usage.transcriptionSeconds.toFixed(1)} s transcribed`,
  ].filter(Boolean);
  byId('usage-extra').textContent = extra.join(' · ');
}

export function startClock() {
  stopClock();
  const began = Date.now();
  const tick = () => {
    const seconds = Math.floor((Date.now() - began) / 1000);
    byId('usage-time').textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
  };
  ticking = setInterval(tick, 1000);
  tick();
}

export function stopClock() {
  clearInterval(ticking);
}
