// How loud a stream is, for level meters and waveforms.

const SAMPLES = 1024;
const FLOOR_DBFS = -60;

/**
 * Listens to the audio of a stream without playing it.
 *
 * @param {MediaStream} stream
 * @param {AudioContext} context created or resumed by a click, as browsers demand
 * @returns {{ level(): number, close(): void }} `level`: 0 for silence (-60 dBFS and below) to 1 for full scale
 */
export function createMeter(stream, context) {
  const source = context.createMediaStreamSource(stream);
  const analyser = context.createAnalyser();
  analyser.fftSize = SAMPLES;
  source.connect(analyser);
  const samples = new Float32Array(SAMPLES);
  return {
    level() {
      analyser.getFloatTimeDomainData(samples);
      const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / SAMPLES;
      const dbfs = 10 * Math.log10(power + 1e-12);
      return Math.min(1, Math.max(0, 1 - dbfs / FLOOR_DBFS));
    },
    close() {
      source.disconnect();
      analyser.disconnect();
    },
  };
}
