// What Chromium's fake microphone hears: somebody who waits for the greeting, says a few syllables, and waits for the answer; again and again.
const RATE = 48_000;
const SILENT_SECONDS = 7;
const SPOKEN_SECONDS = 1.6;
const LISTENING_SECONDS = 5.4;
const SYLLABLES_PER_SECOND = 4;

/** A WAV file: 16 bits, mono. */
export function voice() {
  const samples = new Int16Array(RATE * (SILENT_SECONDS + SPOKEN_SECONDS + LISTENING_SECONDS));
  let phase = 0;
  for (let index = 0; index < SPOKEN_SECONDS * RATE; index += 1) {
    const seconds = index / RATE;
    phase += (130 + 35 * Math.sin(2 * Math.PI * 1.3 * seconds)) / RATE;
    const syllable = Math.max(0, Math.sin(2 * Math.PI * SYLLABLES_PER_SECOND * seconds)) ** 0.5;
    samples[SILENT_SECONDS * RATE + index] = 0.5 * 32_767 * syllable * vowel(phase, seconds);
  }
  return Buffer.concat([header(samples.byteLength), Buffer.from(samples.buffer)]);
}

/** Harmonics around two formants that move. */
function vowel(phase, seconds) {
  const [low, high] = [5 + 2 * Math.sin(7 * seconds), 12 + 4 * Math.sin(5 * seconds)];
  let sum = 0;
  for (let harmonic = 1; harmonic <= 24; harmonic += 1) {
    const weight = Math.exp(-(((harmonic - low) / 3) ** 2)) + 0.5 * Math.exp(-(((harmonic - high) / 3) ** 2)) + 0.15 / harmonic;
    sum += weight * Math.sin(2 * Math.PI * harmonic * phase);
  }
  return sum / 6;
}

function header(bytes) {
  const head = Buffer.alloc(44);
  head.write('RIFF', 0);
  head.writeUInt32LE(36 + bytes, 4);
  head.write('WAVEfmt ', 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(RATE, 24);
  head.writeUInt32LE(RATE * 2, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write('data', 36);
  head.writeUInt32LE(bytes, 40);
  return head;
}
