// Both sides of the conversation as chat bubbles, with the words that are still coming, notes, and function calls.
import { redact } from '../ephemint.js';
import { announce, byId, make, show } from './dom.js';

const NAMES = { user: 'You', assistant: 'Assistant' };

export class Conversation {
  #list = byId('lines');
  /** @type {Map<string, HTMLElement>} */
  #shown = new Map();

  clear() {
    this.#list.replaceChildren();
    this.#shown.clear();
    show(byId('empty'), true);
  }

  /** A line of the transcript, new or grown. */
  line({ id, role, text, final, spoken, failed }) {
    if (final && text === '' && !failed) return this.#drop(id);
    const bubble = this.#shown.get(id) ?? this.#add(id, `line ${role}`, make('span', { class: 'name' }, NAMES[role]), make('p', { class: 'text' }));
    bubble.classList.toggle('interim', !final);
    bubble.classList.toggle('typed', !spoken && role === 'user');
    const words = failed ? 'Spoken, without transcript' : text;
    bubble.querySelector('.text').replaceChildren(...(words === '' ? dots() : [words]));
    if (final && bubble.dataset.said === undefined) {
      bubble.dataset.said = '';
      announce(`${NAMES[role]}: ${words}`);
    }
    this.#follow();
    return undefined;
  }

  /** Something that neither side said. `kind`: `info` or `problem`. */
  note(text, kind = 'info') {
    this.#add(undefined, `note ${kind}`, make('p', {}, redact(text)));
    announce(text);
    this.#follow();
  }

  /** A function that the model calls, and what this page answers. */
  tool({ id, name, arguments: given, output }) {
    const entry = this.#shown.get(id) ?? this.#add(id, 'tool', ...toolParts(name, given));
    const state = output === undefined ? 'Running in this page' : 'Answered by this page';
    entry.querySelector('.tool-state').textContent = state;
    if (output !== undefined) {
      entry.querySelector('.tool-output').textContent = redact(pretty(output));
      announce(`The function ${name} was answered.`);
    }
    this.#follow();
  }

  #add(id, classes, ...children) {
    const item = make('li', { class: classes }, ...children);
    if (id !== undefined) this.#shown.set(id, item);
    show(byId('empty'), false);
    this.#list.append(item);
    return item;
  }

  #drop(id) {
    this.#shown.get(id)?.remove();
    this.#shown.delete(id);
  }

  /** Keeps the newest line in view unless the reader has scrolled up. */
  #follow() {
    const box = byId('transcript');
    const nearEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 160;
    if (nearEnd) box.scrollTop = box.scrollHeight;
  }
}

function dots() {
  return [make('span', { class: 'dots', role: 'img', 'aria-label': 'speaking' }, make('i'), make('i'), make('i'))];
}

function toolParts(name, given) {
  return [
    make('p', { class: 'tool-head' }, make('code', {}, name), make('span', { class: 'tool-state' })),
    make('dl', {},
      make('div', {}, make('dt', {}, 'Asked'), make('dd', {}, make('code', {}, redact(given || '{}')))),
      make('div', {}, make('dt', {}, 'Answer'), make('dd', {}, make('code', { class: 'tool-output' }, '…')))),
  ];
}

function pretty(value) {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
