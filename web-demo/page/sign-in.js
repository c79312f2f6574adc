// Who is calling: a development user by a click, somebody who signed in at the issuer, or an access token that is pasted and stays in memory.
import { strangeCharacter } from '../client/secret.js';
import { EphemintError } from '../ephemint.js';
import { byId, make, show } from './dom.js';

const PATIENCE_MS = 5_000;
const ROLES = { alice: 'A caller with every profile', bob: 'A second caller, whose limits are his own' };

/**
 * @param {object} settings demo.json
 * @param {(user: { name: string, baseUrl: string, getToken?: Function, signOut?: Function, signInAgain?: Function }) => void} onSignedIn
 */
export async function prepareSignIn(settings, onSignedIn) {
  const way = WAYS[settings.sign_in] ?? WAYS.token;
  for (const { id } of Object.values(WAYS)) show(byId(id), id === way.id);
  byId('sign-in-lead').textContent = way.lead;
  await way.prepare(settings, onSignedIn);
}

const WAYS = {
  development: {
    id: 'sign-in-cards',
    lead: 'Development users exist on this machine only. Pick one.',
    prepare: (settings, onSignedIn) => byId('sign-in-cards').append(...settings.users.map((name) => card(name, settings.ephemint, onSignedIn))),
  },
  login: {
    id: 'sign-in-login',
    lead: 'Your identity provider asks who you are and sends you back here.',
    prepare: prepareLogin,
  },
  token: {
    id: 'sign-in-form',
    lead: 'Paste an access token of your identity provider. It stays in this tab’s memory and is gone when you close it.',
    prepare: prepareForm,
  },
};

/** Shows or hides what went wrong while signing in. */
export function showSignInProblem(text) {
  byId('sign-in-problem').textContent = text ?? '';
  show(byId('sign-in-problem'), Boolean(text));
}

function card(name, baseUrl, onSignedIn) {
  const button = make('button', { type: 'button', class: 'person', 'data-user': name },
    make('span', { class: 'avatar', 'aria-hidden': 'true' }, name.slice(0, 1).toUpperCase()),
    make('span', { class: 'person-text' }, make('strong', {}, `Sign in as ${name}`), make('small', {}, ROLES[name] ?? 'Development user')),
    make('span', { class: 'chevron', 'aria-hidden': 'true' }, '›'));
  button.addEventListener('click', async () => {
    button.disabled = true;
    showSignInProblem();
    const getToken = developmentTokens(baseUrl, name);
    try {
      await getToken({ renew: false });
      onSignedIn({ name, baseUrl, getToken });
    } catch (error) {
      showSignInProblem(`${error.message} Is “ephemint dev” still running?`);
    } finally {
      button.disabled = false;
    }
  });
  return button;
}

function developmentTokens(baseUrl, user) {
  let token;
  return async ({ renew }) => {
    if (renew) token = undefined;
    token ??= await askForToken(baseUrl, user);
    return token;
  };
}

async function askForToken(baseUrl, user) {
  let response;
  try {
    response = await fetch(`${baseUrl}/dev/token`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ user }),
      cache: 'no-store',
      credentials: 'omit',
    });
  } catch (cause) {
    throw new EphemintError('sign_in_failed', 'Development sign-in cannot be reached.', { cause });
  }
  const { access_token: token } = await response.json().catch(() => ({}));
  if (!response.ok || !token) throw new EphemintError('sign_in_failed', `Development sign-in did not accept ${user}.`, { status: response.status });
  return token;
}

/** The session is a cookie that this page cannot read: it asks the service who is signed in. */
async function prepareLogin({ ephemint: baseUrl }, onSignedIn) {
  const signInAgain = (claims) => {
    const query = new URLSearchParams({ return_to: location.pathname, ...(claims && { claims }) });
    location.assign(`${baseUrl}/auth/login?${query}`);
  };
  byId('sign-in-login').addEventListener('click', () => signInAgain());
  const me = await fetch(`${baseUrl}/auth/me`, { cache: 'no-store', signal: AbortSignal.timeout(PATIENCE_MS) }).catch(() => undefined);
  if (!me?.ok) return;
  const { user: name } = await me.json();
  onSignedIn({ name, baseUrl, signOut: () => signOut(baseUrl), signInAgain });
}

/** Here, and at the issuer where it offers that. */
async function signOut(baseUrl) {
  const response = await fetch(`${baseUrl}/auth/logout`, { method: 'POST', cache: 'no-store' }).catch(() => undefined);
  if (!response?.ok) throw new EphemintError('unreachable', 'You could not be signed out. Try again.');
  const { logout_url: elsewhere } = await response.json();
  if (elsewhere) location.assign(elsewhere);
}

function prepareForm(settings, onSignedIn) {
  const [address, token] = [byId('sign-in-address'), byId('sign-in-token')];
  address.value = settings.ephemint;
  address.placeholder = location.origin;
  byId('sign-in-form').addEventListener('submit', (event) => {
    event.preventDefault();
    const value = token.value.trim().replace(/^Bearer\s+/i, '');
    const baseUrl = address.value.trim();
    const problem = addressProblem(baseUrl) ?? tokenProblem(value);
    showSignInProblem(problem);
    if (problem) return (addressProblem(baseUrl) ? address : token).focus();
    token.value = '';
    onSignedIn({ name: nameIn(value), baseUrl, getToken: () => value });
  });
}

function addressProblem(address) {
  if (address === '') return undefined;
  const url = URL.canParse(address) ? new URL(address) : undefined;
  return url && ['http:', 'https:'].includes(url.protocol) ? undefined : 'The address of Ephemint starts with https:// (or http:// on this machine).';
}

/** Says where the token is wrong, and never what it is. */
function tokenProblem(token) {
  if (token === '') return 'Paste an access token first.';
  const place = strangeCharacter(token);
  if (place === 0) return undefined;
  return `Character ${place} of the token cannot be part of an access token. Copy it again, whole and alone: no spaces or line breaks, only plain letters, digits and signs such as . - _`;
}

/** What to call the user on this page. Only the service decides whom the token names. */
function nameIn(token) {
  try {
    const base64 = token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/');
    const claims = JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(base64), (char) => char.charCodeAt(0))));
    const name = claims.name ?? claims.preferred_username ?? claims.email ?? claims.sub;
    return typeof name === 'string' && name !== '' ? name.slice(0, 40) : 'Signed in';
  } catch {
    return 'Signed in';
  }
}
