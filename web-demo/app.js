// The page: settings, sign-in, the call, the keyboard.
import { Call } from './page/call.js';
import { Conversation } from './page/conversation.js';
import { byId, make, show } from './page/dom.js';
import { Log } from './page/log.js';
import { Meters } from './page/meters.js';
import { hideProblem, prepareProblem, showProblem } from './page/problem.js';
import { loadSettings } from './page/settings.js';
import { prepareSignIn, showSignInProblem } from './page/sign-in.js';
import { showUsage } from './page/usage-card.js';

const SCENARIOS = {
  happy: 'Everything works',
  slow: 'A slow provider',
  rate_limited: 'Provider limits the rate',
  quota_exhausted: 'Provider budget used up',
  server_error: 'Provider has a fault',
  drops_mid_call: 'Connection drops mid-call',
  hangs_up: 'Assistant hangs up',
  echo: 'Echo: hear yourself',
  expires: 'Session ends after ten seconds',
};

const settings = await loadSettings();
const call = new Call({ meters: new Meters(), conversation: new Conversation(), log: new Log() });
let user;

prepareChoices();
prepareProblem({ again: startCall, signIn: (claims) => (user?.signInAgain ?? signOut)(claims) });
prepareButtons();
prepareKeys();
showUsage({});
byId('badge-text').textContent = settings.scenarios.length > 0 ? 'Simulation: nothing leaves this machine' : '';
show(byId('badge'), settings.scenarios.length > 0);
show(byId('docs-row'), settings.ephemint === '' && settings.sign_in === 'development');
await prepareSignIn(settings, signIn);
if (user === undefined) show(byId('welcome'), true);

function signIn(who) {
  user = who;
  byId('who-name').textContent = user.name;
  byId('who-avatar').textContent = user.name.slice(0, 1).toUpperCase();
  showPlace(true);
  byId('connect').focus();
}

async function signOut() {
  await call.hangUp();
  try {
    await user?.signOut?.();
  } catch (error) {
    return showProblem(error);
  }
  user = undefined;
  hideProblem();
  showSignInProblem();
  showPlace(false);
  document.querySelector('.person, #sign-in-login:not([hidden]), #sign-in-form:not([hidden]) textarea')?.focus();
}

function showPlace(signedIn) {
  show(byId('who'), signedIn);
  show(byId('desk'), signedIn);
  show(byId('welcome'), !signedIn);
}

function prepareChoices() {
  const options = (entries) => entries.map(([value, text]) => make('option', { value }, text));
  byId('profile').append(...options(settings.profiles.map((name) => [name, name])));
  byId('voice').append(...options([['', 'Default'], ...settings.voices.map((name) => [name, name])]));
  byId('scenario').append(...options(settings.scenarios.map((name) => [name, SCENARIOS[name] ?? name])));
  show(byId('scenario-row'), settings.scenarios.length > 0);
}

function startCall({ listenOnly = false } = {}) {
  const [profile, voice, scenario] = ['profile', 'voice', 'scenario'].map((id) => byId(id).value);
  void call.start({ user, profile, voice, scenario, listenOnly });
}

function prepareButtons() {
  byId('connect').addEventListener('click', () => startCall());
  byId('hang-up').addEventListener('click', () => void call.hangUp());
  byId('mute').addEventListener('click', () => call.toggleMute());
  byId('sign-out').addEventListener('click', () => void signOut());
  byId('choices').addEventListener('submit', (event) => event.preventDefault());
  byId('composer').addEventListener('submit', (event) => {
    event.preventDefault();
    const text = byId('text').value.trim();
    if (text !== '' && call.sendText(text)) byId('text').value = '';
  });
  for (const idea of byId('ideas').children) idea.addEventListener('click', () => call.sendText(idea.dataset.say));
  addEventListener('pagehide', () => void call.hangUp());
}

/** M mutes, Esc hangs up; not while somebody types or chooses, and not at all when the box in the footer is off. */
function prepareKeys() {
  addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || !byId('shortcuts').checked || !call.active) return;
    const typing = event.target.closest?.('input:not([type=checkbox]), textarea, select');
    if (event.key === 'Escape' && typing) return typing.blur();
    if (typing) return;
    if (event.key === 'Escape') void call.hangUp();
    if (event.key.toLowerCase() === 'm' && !event.repeat) call.toggleMute();
  });
}
