// A real OIDC issuer on loopback, and users who sign in to it the way a browser does.
import { createHash, generateKeyPairSync, randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';

import * as oauth from 'oauth4webapi';
import Provider from 'oidc-provider';

export const CLIENT_ID = 'voice-app';
export const AUDIENCE = 'voice';
/** May ask what opaque tokens are worth, in the header and in the form. */
export const RESOURCE_SERVERS = ['client_secret_basic', 'client_secret_post'].map((method) => ({
  client_id: `voice ${method}`,
  client_secret: `CANARY ${method} /+:%&= ${randomBytes(16).toString('hex')}`,
  token_endpoint_auth_method: method,
  redirect_uris: [],
  response_types: [],
  grant_types: [],
}));

const REDIRECT_URI = 'http://127.0.0.1/signed-in';
const KEY_TYPES = {
  RS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  EdDSA: ['ed25519', {}],
};

/** Starts the issuer. `rotate()` signs with new keys from then on and keeps the old ones published. */
export async function startIssuer() {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');

  const url = `http://127.0.0.1:${server.address().port}`;
  let keys = signingKeys();
  let serve = quietly(() => provider(url, keys));
  server.on('request', (request, response) => serve(request, response));

  return {
    url,
    signIn: (user, wish) => signIn(url, user, wish),
    revoke: (token) => revoke(url, token),
    rotate() {
      keys = [...signingKeys(), ...keys];
      serve = quietly(() => provider(url, keys));
    },
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** RFC 7009. */
async function revoke(issuer, token) {
  const body = new URLSearchParams({ token, client_id: CLIENT_ID });
  const answer = await fetch(new URL('/token/revocation', issuer), { method: 'POST', body });
  if (!answer.ok) throw new Error(`not revoked: ${await answer.text()}`);
}

/**
 * The whole authorization code flow with PKCE: login form, consent form, code, tokens. The access token is a JWT unless
 * `algorithm` is `opaque`. `dpop` binds it to a key.
 */
async function signIn(issuer, user, { algorithm = 'RS256', seconds = 600, offline = false, dpop } = {}) {
  const resource = `urn:voice:${algorithm}:${seconds}`;
  const verifier = randomBytes(32).toString('base64url');
  const authorize = new URL('/auth', issuer);
  authorize.search = new URLSearchParams({
    client_id: CLIENT_ID,
    response_type: 'code',
    redirect_uri: REDIRECT_URI,
    scope: offline ? 'openid talk offline_access' : 'openid talk',
    ...(offline && { prompt: 'consent' }),
    resource,
    state: randomUUID(),
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  });

  const answer = await browse(authorize, user);
  if (answer.searchParams.get('state') !== authorize.searchParams.get('state')) {
    throw new Error(`the sign-in of ${user} ended at ${answer}`);
  }
  const tokens = await oauth.genericTokenEndpointRequest(
    { issuer, token_endpoint: new URL('/token', issuer).href },
    { client_id: CLIENT_ID },
    oauth.None(),
    'authorization_code',
    { redirect_uri: REDIRECT_URI, code: answer.searchParams.get('code'), code_verifier: verifier, resource },
    { DPoP: dpop, [oauth.allowInsecureRequests]: true },
  );
  const { access_token: accessToken, id_token: idToken, refresh_token: refreshToken, error_description: problem } = await tokens.json();
  if (!tokens.ok) throw new Error(`no tokens for ${user}: ${problem}`);
  return { accessToken, idToken, ...(refreshToken && { refreshToken }) };
}

/** Follows redirects and sends forms, as a browser with a cookie jar, until the issuer sends the user back to the app. */
async function browse(start, user) {
  const cookies = new Map();
  let url = start;
  let form;
  for (let step = 0; step < 20; step += 1) {
    const response = await fetch(url, {
      method: form ? 'POST' : 'GET',
      body: form,
      headers: { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') },
      redirect: 'manual',
    });
    for (const cookie of response.headers.getSetCookie()) {
      const [, name, value] = cookie.match(/^([^=]+)=([^;]*)/);
      if (value) cookies.set(name, value);
      else cookies.delete(name);
    }

    const page = await response.text();
    if (response.headers.has('location')) {
      url = new URL(response.headers.get('location'), url);
      form = undefined;
      if (url.href.startsWith(REDIRECT_URI)) return url;
    } else {
      const prompt = page.match(/name="prompt" value="(\w+)"/)?.[1];
      if (!prompt) throw new Error(`${url.pathname} answered ${response.status} without a form`);
      url = new URL(page.match(/action="([^"]+)"/)[1], url);
      form = new URLSearchParams({ prompt, login: user, password: 'any' });
    }
  }
  throw new Error('the sign-in never came back to the app');
}

function provider(url, keys) {
  return new Provider(url, {
    clients: [{
      client_id: CLIENT_ID,
      token_endpoint_auth_method: 'none',
      redirect_uris: [REDIRECT_URI],
      application_type: 'native',
      grant_types: ['authorization_code', 'refresh_token'],
    }, ...RESOURCE_SERVERS],
    cookies: { keys: [randomUUID()] },
    jwks: { keys },
    ttl: {
      AccessToken: (_, token) => token.resourceServer.accessTokenTTL,
      ...Object.fromEntries(['Interaction', 'Session', 'Grant', 'IdToken', 'RefreshToken'].map((artifact) => [artifact, 600])),
    },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    features: {
      introspection: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo(_, resource) {
          const [, , alg, seconds] = resource.split(':');
          return {
            scope: 'talk',
            audience: AUDIENCE,
            accessTokenTTL: Number(seconds),
            ...(alg === 'opaque' ? { accessTokenFormat: 'opaque' } : { accessTokenFormat: 'jwt', jwt: { sign: { alg } } }),
          };
        },
      },
    },
  }).callback();
}

function signingKeys() {
  return Object.entries(KEY_TYPES).map(([alg, [type, options]]) => ({
    ...generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' }),
    alg,
    use: 'sig',
    kid: randomUUID(),
  }));
}

// The provider warns that its development sign-in page is no production page: here it is meant.
function quietly(build) {
  const { warn, info } = console;
  console.warn = console.info = () => {};
  try {
    return build();
  } finally {
    Object.assign(console, { warn, info });
  }
}
