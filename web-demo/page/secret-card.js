// The client secret as the page may know it: four characters and a countdown.
import { byId, show } from './dom.js';

const CIRCUMFERENCE = 2 * Math.PI * 42;

let ticking;
let forgotten = false;

/** @param {{ hint: string, expiresAt: number }} secret `expiresAt` in unix seconds */
export function showSecret({ hint, expiresAt }) {
  const lifetime = Math.max(1, expiresAt - Date.now() / 1000);
  byId('secret-value').textContent = `ek_••••${hint}`;
  show(byId('secret-none'), false);
  show(byId('secret-some'), true);
  clearInterval(ticking);
  forgotten = false;
  const tick = () => {
    const left = Math.max(0, expiresAt - Date.now() / 1000);
    byId('secret-left').textContent = left >= 1 ? String(Math.ceil(left)) : '0';
    byId('secret-ring').style.setProperty('stroke-dashoffset', String(CIRCUMFERENCE * (1 - Math.min(1, left / lifetime))));
    byId('secret-card').classList.toggle('expired', left <= 0);
    byId('secret-state').textContent = stateText(left);
    if (left <= 0) clearInterval(ticking);
  };
  ticking = setInterval(tick, 500);
  tick();
}

/** The call is answered or given up: nothing holds the value any more. */
export function secretForgotten() {
  forgotten = true;
  byId('secret-state').textContent = stateText(1);
}

export function hideSecret() {
  clearInterval(ticking);
  show(byId('secret-none'), true);
  show(byId('secret-some'), false);
}

function stateText(left) {
  if (left <= 0) return 'Expired. A running call goes on';
  return forgotten ? 'This page has forgotten it already' : 'In memory until the call is answered';
}
