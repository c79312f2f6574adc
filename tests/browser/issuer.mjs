// An OIDC issuer on loopback whose users have signed in already.
import { generateKeyPairSync, sign } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';

export const AUDIENCE = 'voice';
const LIFETIME_SECONDS = 600;

export async function startIssuer() {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const keys = { keys: [{ ...publicKey.export({ format: 'jwk' }), use: 'sig', alg: 'EdDSA', kid: 'one' }] };
  const server = createServer((request, response) => {
    const answer = { '/.well-known/openid-configuration': { issuer: url, jwks_uri: `${url}/jwks` }, '/jwks': keys }[request.url];
    response.writeHead(answer ? 200 : 404, { 'content-type': 'application/json' });
    response.end(JSON.stringify(answer ?? {}));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const url = `http://127.0.0.1:${server.address().port}`;
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

  return {
    url,
    /** An access token of this user. */
    signIn(user) {
      const now = Math.floor(Date.now() / 1000);
      const claims = { iss: url, sub: user, aud: AUDIENCE, iat: now, exp: now + LIFETIME_SECONDS };
      const signed = `${part({ alg: 'EdDSA', typ: 'at+jwt', kid: 'one' })}.${part(claims)}`;
      return `${signed}.${sign(null, Buffer.from(signed), privateKey).toString('base64url')}`;
    },
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}
