// Small functions around the document. Text always goes in as text, never as markup.

/** The element with this id; every id that the modules name is in index.html. */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * A new element. `attributes` whose value is undefined or false are left out.
 * @param {string} tag
 * @param {Record<string, string | number | boolean | undefined>} attributes
 * @param {...(Node | string)} children
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children);
  return element;
}

/** Shows or hides. */
export function show(element, visible) {
  element.hidden = !visible;
}

/** Says something to screen readers, politely. */
export function announce(text) {
  const line = make('p', {}, text);
  const region = byId('announcer');
  region.append(line);
  while (region.childElementCount > 4) region.firstElementChild.remove();
}
