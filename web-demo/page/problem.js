// The card that says what went wrong and what to do about it.
import { EphemintError, redact } from '../ephemint.js';
import { byId, show } from './dom.js';
import { adviceFor } from './refusals.js';

const COPY = 'Copy for the operator';

let ticking;
/** What the last refusal wants to see of the user at sign-in. */
let claims;

/** @param {{ again(options: { listenOnly: boolean }): void, signIn(claims?: string): void }} actions */
export function prepareProblem({ again, signIn }) {
  byId('problem-again').addEventListener('click', () => again({ listenOnly: false }));
  byId('problem-listen').addEventListener('click', () => again({ listenOnly: true }));
  byId('problem-sign-in').addEventListener('click', () => signIn(claims));
  byId('problem-copy').addEventListener('click', () => void copy());
}

/** Shows the card and moves the focus to it. */
export function showProblem(error) {
  const known = error instanceof EphemintError;
  claims = error?.claims;
  const { title, advice, action } = adviceFor(known ? error : {});
  byId('problem-title').textContent = title;
  byId('problem-advice').textContent = advice;
  byId('problem-detail').textContent = known ? error.message : redact(error?.message ?? 'Something unexpected happened.');
  byId('problem-code').textContent = [error?.status, error?.upstreamCode ?? error?.code].filter(Boolean).join(' · ');
  byId('problem-request').textContent = error?.requestId ?? '';
  show(byId('problem-request-row'), Boolean(error?.requestId));
  show(byId('problem-again'), action !== 'sign_in' && action !== 'operator');
  show(byId('problem-sign-in'), action === 'sign_in');
  show(byId('problem-listen'), action === 'listen');
  show(byId('problem-copy'), action === 'operator');
  byId('problem-copy').textContent = COPY;
  byId('problem-more').open = action === 'operator';
  holdBack(action === 'wait' ? error.retryAfter ?? 0 : 0);
  show(byId('problem'), true);
  byId('problem-title').focus();
}

export function hideProblem() {
  clearInterval(ticking);
  show(byId('problem'), false);
}

/** What an operator needs to find the request in the log. */
async function copy() {
  const text = ['problem-title', 'problem-detail', 'problem-code', 'problem-request'].map((id) => byId(id).textContent).filter(Boolean).join('\n');
  byId('problem-copy').textContent = await navigator.clipboard.writeText(text).then(() => 'Copied', () => 'The browser did not allow it');
}

/** Keeps the button back for as long as `Retry-After` says. */
function holdBack(seconds) {
  const button = byId('problem-again');
  const free = Date.now() + seconds * 1000;
  const tick = () => {
    const left = Math.ceil((free - Date.now()) / 1000);
    button.disabled = left > 0;
    button.textContent = left > 0 ? `Try again in ${left} s` : 'Try again';
    if (left <= 0) clearInterval(ticking);
  };
  clearInterval(ticking);
  ticking = setInterval(tick, 250);
  tick();
}
