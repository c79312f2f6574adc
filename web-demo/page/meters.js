// Level meters of both sides and the waveform: the assistant above the line, the user below it.
import { createMeter } from '../ephemint.js';
import { byId } from './dom.js';

const BAR = 3;
const STEP = 6;
const SAMPLE_MS = 60;
const SAMPLES = 400;
const SPOKEN_MS = 1000;

export class Meters {
  #canvas = byId('wave');
  #paint = this.#canvas.getContext('2d');
  #calm = matchMedia('(prefers-reduced-motion: reduce)');
  #context;
  #sources = { user: undefined, assistant: undefined };
  #history = { user: new Float32Array(SAMPLES), assistant: new Float32Array(SAMPLES) };
  #shown = { user: 0, assistant: 0 };
  #next = 0;
  #sampled = 0;
  #told = 0;
  #colors = {};
  #frame;

  constructor() {
    const redraw = () => { this.#colors = {}; this.#draw(0); };
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', redraw);
    new ResizeObserver(redraw).observe(this.#canvas);
  }

  /** Call it from a click: browsers start sound only then. */
  start() {
    this.#context ??= new AudioContext();
    void this.#context.resume();
    if (this.#frame === undefined) this.#frame = requestAnimationFrame((now) => this.#tick(now));
  }

  /** @param {"user" | "assistant"} side */
  listen(side, stream) {
    this.#sources[side]?.close();
    this.#sources[side] = stream && stream.getAudioTracks().length > 0 ? createMeter(stream, this.#context) : undefined;
  }

  stop() {
    this.listen('user', null);
    this.listen('assistant', null);
    cancelAnimationFrame(this.#frame);
    this.#frame = undefined;
    void this.#context?.suspend();
    for (const side of ['user', 'assistant']) {
      this.#history[side].fill(0);
      this.#shown[side] = 0;
      this.#show(side, 0, true);
    }
    this.#draw(0);
  }

  #tick(now) {
    this.#frame = requestAnimationFrame((next) => this.#tick(next));
    const due = now - this.#sampled >= (this.#calm.matches ? 4 * SAMPLE_MS : SAMPLE_MS);
    const tell = now - this.#told >= SPOKEN_MS;
    for (const side of ['user', 'assistant']) {
      const level = this.#sources[side]?.level() ?? 0;
      this.#shown[side] = Math.max(level, this.#shown[side] * 0.92);
      if (due || !this.#calm.matches) this.#show(side, this.#shown[side], tell);
      if (due) this.#history[side][this.#next % SAMPLES] = level;
    }
    if (tell) this.#told = now;
    if (due) {
      this.#next += 1;
      this.#sampled = now;
    }
    const glide = this.#calm.matches ? 0 : Math.min(1, (now - this.#sampled) / SAMPLE_MS);
    if (due || !this.#calm.matches) this.#draw(glide);
  }

  #show(side, level, tell) {
    const meter = byId(`level-${side}`);
    meter.style.setProperty('--level', level.toFixed(3));
    if (tell) meter.setAttribute('aria-valuenow', Math.round(level * 100));
  }

  #draw(glide) {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const scale = devicePixelRatio || 1;
    if (this.#canvas.width !== Math.round(width * scale)) this.#canvas.width = Math.round(width * scale);
    if (this.#canvas.height !== Math.round(height * scale)) this.#canvas.height = Math.round(height * scale);
    const paint = this.#paint;
    paint.setTransform(scale, 0, 0, scale, 0, 0);
    paint.clearRect(0, 0, width, height);
    const middle = Math.round(height * 0.56);
    const bars = Math.min(SAMPLES - 1, Math.ceil(width / STEP) + 1);
    for (const [side, up] of [['assistant', true], ['user', false]]) {
      paint.fillStyle = this.#color(side);
      const reach = up ? middle - 8 : height - middle - 8;
      for (let bar = 0; bar < bars; bar += 1) {
        const at = this.#next - 1 - bar;
        const level = at < 0 ? 0 : this.#history[side][at % SAMPLES];
        const x = width - (bar + glide) * STEP;
        const length = Math.max(1.5, level ** 1.6 * reach);
        paint.globalAlpha = Math.max(0.12, Math.min(1, x / (width * 0.5))) * (level > 0.02 ? 1 : 0.35);
        paint.beginPath();
        paint.roundRect(x, up ? middle - 2 - length : middle + 2, BAR, length, BAR / 2);
        paint.fill();
      }
    }
  }

  #color(side) {
    this.#colors[side] ??= getComputedStyle(this.#canvas).getPropertyValue(side === 'user' ? '--wave-user' : '--wave-assistant').trim();
    return this.#colors[side];
  }
}
