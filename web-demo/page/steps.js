// How long each step of a call took, in milliseconds from the click.
import { byId } from './dom.js';

const STEPS = ['secret', 'call', 'audio'];

export class Steps {
  #began = 0;

  begin() {
    this.#began = performance.now();
    for (const step of STEPS) {
      byId(`step-${step}`).classList.remove('done');
      byId(`step-${step}`).querySelector('output').textContent = '';
    }
  }

  /** @param {"secret" | "call" | "audio"} step counted the first time only */
  reach(step) {
    const line = byId(`step-${step}`);
    if (line.classList.contains('done')) return;
    line.classList.add('done');
    line.querySelector('output').textContent = `${Math.round(performance.now() - this.#began).toLocaleString('en')} ms`;
  }
}
