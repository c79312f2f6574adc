// The real binary: `ephemint dev`, and `ephemint serve` with the sandbox as its upstream.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { AUDIENCE } from './issuer.mjs';

const BINARY = process.env.EPHEMINT_BIN ?? fileURLToPath(new URL('../../target/debug/ephemint', import.meta.url));
const PATIENCE_MS = 20_000;

/** `ephemint dev`: the page, sign-in, the service and the sandbox. */
export async function startDev() {
  const binary = run(['dev', '--port', '0', '--admin-port', '0'], {});
  return ready(binary, async () => ({ url: await binary.says(({ stdout }) => address(stdout, 'service')) }));
}

/** The sandbox alone. */
export async function startSandbox() {
  const binary = run(['dev', '--sandbox-only', '--port', '0'], {});
  return ready(binary, async () => ({ url: await binary.says(({ stdout }) => stdout.match(/http:\/\/127\.0\.0\.1:\d+/)?.[0]) }));
}

/**
 * `ephemint serve` with the sandbox behind it: for pages of `origin` whose users bring tokens of `issuer`, or with the demo page, on this
 * `port`, for users who sign in at `provider`.
 */
export async function startService(neighbours) {
  const folder = await mkdtemp(join(tmpdir(), 'ephemint-browser-'));
  const config = join(folder, 'ephemint.toml');
  await writeFile(config, configuration(neighbours));
  const binary = run(['serve', '--config', config], {
    OPENAI_API_KEY: `sk-proj-${randomBytes(48).toString('hex')}`,
    EPHEMINT_ADMIN_TOKEN: randomBytes(24).toString('hex'),
    EPHEMINT_PSEUDONYM_KEY: randomBytes(32).toString('hex'),
    EPHEMINT_COOKIE_KEY: randomBytes(32).toString('hex'),
    EPHEMINT_LOGIN_SECRET: neighbours.provider?.client.secret ?? '',
  });
  const service = await ready(binary, async () => {
    const url = await binary.says(({ stderr }) => stderr.split('\n').slice(0, -1).map(publicAddress).find(Boolean));
    await binary.says(async () => (await fetch(`${url}/readyz`)).ok);
    return { url };
  });
  return { ...service, stop: () => service.stop().finally(() => rm(folder, { recursive: true })) };
}

async function ready(binary, find) {
  try {
    return { ...(await find()), output: binary.output, stop: binary.stop };
  } catch (error) {
    await binary.stop().catch(() => {});
    throw error;
  }
}

function run(args, env) {
  const child = spawn(BINARY, args, { env: { PATH: process.env.PATH, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr']) {
    child[stream].setEncoding('utf8').on('data', (text) => { output[stream] += text; });
  }
  let ended;
  const exit = once(child, 'close').then(([code, signal]) => { ended = code ?? signal; }, (error) => { ended = error.message; });
  const problem = (text) => new Error(`ephemint ${args[0]} ${text}\n${output.stdout}${output.stderr}`);

  return {
    output,
    /** Waits until `question`, asked about the output, has an answer. */
    async says(question) {
      for (const deadline = Date.now() + PATIENCE_MS; Date.now() < deadline; await sleep(50)) {
        if (ended !== undefined) throw problem(`ended with ${ended}`);
        const answer = await question(output);
        if (answer) return answer;
      }
      throw problem('did not get ready');
    },
    async stop() {
      child.kill('SIGTERM');
      const late = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS);
      await exit;
      clearTimeout(late);
      if (ended !== 0) throw problem(`ended with ${ended}`);
    },
  };
}

function address(stdout, listener) {
  return stdout.match(new RegExp(`^\\s*${listener}\\s.*?(http://127\\.0\\.0\\.1:\\d+)`, 'm'))?.[1];
}

function publicAddress(line) {
  if (!line.startsWith('{')) return undefined;
  const { message, listener, address: bound } = JSON.parse(line);
  return message === 'listening' && listener === 'public' ? `http://${bound}` : undefined;
}

const configuration = ({ issuer, provider, sandbox, origin, port = 0 }) => `
environment = "dev"

[server]
listen = "127.0.0.1:${port}"
workers = 1
${provider ? `public_url = "http://127.0.0.1:${port}"` : `allowed_origins = ["${origin}"]`}

[admin]
listen = "127.0.0.1:0"
token = "env://EPHEMINT_ADMIN_TOKEN"

[privacy]
pseudonym_key = "env://EPHEMINT_PSEUDONYM_KEY"

${provider ? signIn(provider) : tokens(issuer)}

[upstreams.openai]
base_url = "${sandbox.url}/v1"
credential = { kind = "api_key", keys = ["env://OPENAI_API_KEY"] }

${profile('default', '')}
${profile('rare', '[profiles.rare.limits]\nmints_per_minute = 1')}
${profile('brief', '', 60)}
${profile('alone', '[profiles.alone.limits]\nconcurrent_calls = 1')}

[upstreams.broken]
base_url = "${sandbox.url}/scenarios/server_error/v1"
credential = { kind = "api_key", keys = ["env://OPENAI_API_KEY"] }
max_attempts = 1

[profiles.broken]
upstream = "broken"
session = { type = "realtime", model = "gpt-realtime-2.1" }
`;

const tokens = ({ url }) => `
[identity.jwt.main]
issuer = "${url}"
audience = ["${AUDIENCE}"]
algorithms = ["EdDSA"]
`;

const signIn = ({ url, client }) => `
[demo]
enabled = true

[identity.login]
issuer = "${url}"
client_id = "${client.id}"
client_secret = "env://EPHEMINT_LOGIN_SECRET"
scopes = ["openid", "profile", "offline_access"]
cookie_keys = ["env://EPHEMINT_COOKIE_KEY"]
`;

const profile = (name, limits, ttl = 120) => `
[profiles.${name}]
upstream = "openai"
ttl_seconds = ${ttl}
client_may_set = ["/audio/output/voice"]
session = { type = "realtime", model = "gpt-realtime-2.1", instructions = "You are the front desk. CANARY-INSTRUCTIONS" }
${limits}
`;
