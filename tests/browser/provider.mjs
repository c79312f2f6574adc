// A real OpenID provider with its own sign-in pages, on another site than the service: localhost, not 127.0.0.1.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';

import Provider from 'oidc-provider';

/** A port of this machine that was free a moment ago. */
export async function freePort() {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address();
  await new Promise((resolve) => { server.close(resolve); });
  return port;
}

/** Starts the provider for a service at `home`. `requests` are paths that were asked for. */
export async function startProvider(home) {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const url = `http://localhost:${server.address().port}`;
  const client = { id: 'ephemint', secret: randomUUID() };
  const requests = [];
  const serve = quietly(() => provider(url, home, client));
  server.on('request', (request, response) => {
    requests.push(`${request.method} ${request.url.split('?')[0]}`);
    serve(request, response);
  });
  return {
    url,
    client,
    requests,
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}

function provider(url, home, client) {
  const openid = new Provider(url, {
    clients: [{
      client_id: client.id,
      client_secret: client.secret,
      redirect_uris: [`${home}/auth/callback`],
      post_logout_redirect_uris: [`${home}/`],
      grant_types: ['authorization_code', 'refresh_token'],
    }],
    pkce: { required: () => true },
    cookies: { keys: [randomUUID()] },
    jwks: { keys: [{ ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig', kid: randomUUID() }] },
    claims: { openid: ['sub'], profile: ['name'] },
    conformIdTokenClaims: false,
    issueRefreshToken: () => true,
    rotateRefreshToken: true,
    features: { revocation: { enabled: true } },
    findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, name: `${id} of Wonderland` }) }),
    ttl: Object.fromEntries(['AccessToken', 'Interaction', 'Session', 'Grant', 'IdToken', 'RefreshToken'].map((artifact) => [artifact, 600])),
  });
  // Its pages have no icon, and would fetch a font from elsewhere.
  openid.use(async (context, next) => {
    await next();
    if (context.path === '/favicon.ico') context.status = 204;
    if (typeof context.body === 'string') context.body = context.body.replace(/@import url\([^)]*\);/g, '');
  });
  return openid.callback();
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
