// The event log: what went over the line, without secrets.
import { redact } from '../ephemint.js';
import { byId, make } from './dom.js';

const KEPT = 400;
const HIDDEN_KEYS = new Set(['value', 'client_secret', 'authorization', 'token', 'access_token']);
const ARROWS = { sent: '↑', received: '↓', page: '•' };
const WORDS = { sent: 'sent', received: 'received', page: 'this page' };

export class Log {
  #list = byId('log');
  #texts = new WeakMap();
  #count = 0;
  #last;

  constructor() {
    byId('log-clear').addEventListener('click', () => this.clear());
    byId('log-copy').addEventListener('click', () => void this.#copy());
  }

  clear() {
    this.#list.replaceChildren();
    this.#last = undefined;
    this.#tell(0);
  }

  /** @param {"sent" | "received" | "page"} direction */
  add(direction, event) {
    const { type } = event;
    this.#tell(this.#count + 1);
    if (this.#last?.type === type && type.endsWith('.delta')) {
      this.#last.times += 1;
      this.#last.badge.textContent = `×${this.#last.times}`;
      return;
    }
    const badge = make('span', { class: 'times' });
    const body = make('details', {}, make('summary', {},
      make('span', { class: `arrow ${direction}`, 'aria-hidden': 'true' }, ARROWS[direction]),
      make('span', { class: 'unseen' }, WORDS[direction]),
      make('code', {}, type), badge,
      make('time', {}, new Date().toLocaleTimeString('en', { hour12: false }))));
    body.addEventListener('toggle', () => {
      if (body.open && body.childElementCount === 1) body.append(make('pre', { tabindex: 0, 'aria-label': `The event ${type}` }, safe(event, 2)));
    });
    const item = make('li', {}, body);
    this.#texts.set(item, `${WORDS[direction]} ${safe(event)}`);
    this.#list.append(item);
    while (this.#list.childElementCount > KEPT) this.#list.firstElementChild.remove();
    this.#last = { type, badge, times: 1 };
  }

  #tell(count) {
    this.#count = count;
    byId('log-count').textContent = count === 1 ? '1 event' : `${count} events`;
  }

  async #copy() {
    const text = [...this.#list.children].map((item) => this.#texts.get(item)).join('\n');
    const said = await navigator.clipboard.writeText(text).then(() => 'Copied', () => 'The browser did not allow it');
    byId('log-copy').textContent = said;
    setTimeout(() => { byId('log-copy').textContent = 'Copy'; }, 1500);
  }
}

function safe(event, indent) {
  return redact(JSON.stringify(event, (key, value) => (HIDDEN_KEYS.has(key) ? '••••' : value), indent));
}
