// OpenAI's side of a mint, on loopback: answers as OpenAI does and records what reached it.
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { json } from 'node:stream/consumers';

const SESSION_TYPES = {
  '/v1/realtime/client_secrets': 'realtime',
  '/v1/realtime/translations/client_secrets': 'translation',
};

export async function startUpstream() {
  const mints = [];
  const failures = [];
  const server = createServer(async (request, response) => {
    const type = SESSION_TYPES[request.url];
    if (request.method !== 'POST' || !type) return response.writeHead(404).end();

    const body = await json(request);
    const failure = failures.shift();
    const value = `ek_${randomBytes(16).toString('hex')}`;
    mints.push({ path: request.url, headers: request.headers, body, value: failure ? undefined : value });
    response.setHeader('content-type', 'application/json');
    if (failure) {
      response.writeHead(failure.status, failure.headers);
      return response.end(JSON.stringify({ error: { message: 'CANARY-UPSTREAM-BODY', type: 'server_error', param: null, code: null } }));
    }
    return response.end(JSON.stringify({
      value,
      expires_at: Math.floor(Date.now() / 1000) + body.expires_after.seconds,
      session: { ...body.session, type, object: `${type}.session`, id: `sess_${randomBytes(8).toString('hex')}`, expires_at: 0 },
    }));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');

  return {
    url: `http://127.0.0.1:${server.address().port}/v1`,
    mints,
    failNext: (status, headers = {}) => failures.push({ status, headers }),
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}
