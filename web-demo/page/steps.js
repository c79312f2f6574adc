// How long each step of a connection took, in milliseconds from the click, or from the break that it mends.
import { byId, show } from './dom.js';

const STEPS = ['secret', 'call', 'audio'];

export class Steps {
  #began = 0;

  /** @param {{ greeted: boolean }} connection whether the assistant speaks first; otherwise no step waits for a sound */
  begin({ greeted }) {
    this.#began = performance.now();
    for (const step of STEPS) {
      byId(`step-${step}`).classList.remove('done');
      byId(`step-${step}`).querySelector('output').textContent = '';
    }
    show(byId('step-audio'), greeted);
  }

  /** @param {"secret" | "call" | "audio"} step counted the first time only */
  reach(step) {
    const line = byId(`step-${step}`);
    if (line.hidden || line.classList.contains('done')) return;
    line.classList.add('done');
    line.querySelector('output').textContent = `${Math.round(performance.now() - this.#began).toLocaleString('en')} ms`;
  }
}
