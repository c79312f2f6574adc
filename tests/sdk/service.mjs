// The real binary, with the issuer and the upstream on the same loopback.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { AUDIENCE, startIssuer } from './issuer.mjs';
import { startUpstream } from './upstream.mjs';

const BINARY = process.env.EPHEMINT_BIN ?? fileURLToPath(new URL('../../target/debug/ephemint', import.meta.url));
const PATIENCE_MS = 20_000;

export const INSTRUCTIONS = 'You are the front desk. CANARY-INSTRUCTIONS';
export const MODEL = 'gpt-realtime-2.1';

/**
 * Issuer, upstream and `ephemint serve`. `stop()` ends all three, expects the service to leave with exit code 0, and
 * gives back everything that it wrote. `identity` makes the identity section from the issuer's URL, `more` stands after it, and
 * `env` is what they refer to.
 */
export async function startWorld({ identity = jwt, more = '', env = {} } = {}) {
  const permanentKey = `sk-proj-${randomBytes(48).toString('hex')}`;
  const folder = await mkdtemp(join(tmpdir(), 'ephemint-sdk-'));
  const audit = join(folder, 'audit.jsonl');
  const config = join(folder, 'ephemint.toml');
  const [issuer, upstream] = await Promise.all([startIssuer(), startUpstream()]);
  await writeFile(config, configuration({ identity: identity(issuer.url) + more, upstream: upstream.url, audit }));

  const binary = run(['serve', '--config', config], {
    OPENAI_API_KEY: permanentKey,
    EPHEMINT_ADMIN_TOKEN: randomBytes(24).toString('hex'),
    EPHEMINT_PSEUDONYM_KEY: randomBytes(32).toString('hex'),
    ...env,
  });
  const end = async () => {
    issuer.stop();
    upstream.stop();
    try {
      await binary.stop();
      return { ...binary.output, audit: await readFile(audit, 'utf8') };
    } finally {
      await rm(folder, { recursive: true });
    }
  };
  let ended;
  const stop = () => (ended ??= end());
  try {
    const url = await binary.says(({ stderr }) => stderr.split('\n').slice(0, -1).map(publicAddress).find(Boolean));
    await binary.says(async () => (await fetch(`${url}/readyz`)).ok);
    return {
      issuer,
      upstream,
      permanentKey,
      baseURL: `${url}/v1`,
      stop,
    };
  } catch (error) {
    await stop().catch(() => {});
    throw error;
  }
}

/** `ephemint dev`: no file, no key, its own upstream and sign-in. */
export async function startDev() {
  const binary = run(['dev', '--port', '0'], {});
  try {
    const url = await binary.says(({ stdout }) => stdout.match(/service.*?(http:\/\/127\.0\.0\.1:\d+)/i)?.[1]);
    return { url, baseURL: `${url}/v1`, output: binary.output, stop: binary.stop };
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

function publicAddress(line) {
  if (!line.startsWith('{')) return undefined;
  const { message, listener, address } = JSON.parse(line);
  return message === 'listening' && listener === 'public' ? `http://${address}` : undefined;
}

const jwt = (issuer) => `
[identity.jwt.main]
issuer = "${issuer}"
audience = ["${AUDIENCE}"]
algorithms = ["RS256", "ES256", "EdDSA"]
leeway_seconds = 0
jwks_cooldown_seconds = 1
`;

// At level trace, so that the search for secrets in the log sees as much as an operator ever would.
const configuration = ({ identity, upstream, audit }) => `
environment = "dev"

[server]
listen = "127.0.0.1:0"
workers = 1

[admin]
listen = "127.0.0.1:0"
token = "env://EPHEMINT_ADMIN_TOKEN"

[privacy]
pseudonym_key = "env://EPHEMINT_PSEUDONYM_KEY"
${identity}
[upstreams.openai]
kind = "openai"
base_url = "${upstream}"
credential = { kind = "api_key", keys = ["env://OPENAI_API_KEY"] }
max_attempts = 1

[profiles.default]
upstream = "openai"
api = "realtime"
ttl_seconds = 120
max_ttl_seconds = 300
client_may_set = ["/audio/output/voice"]
session = { type = "realtime", model = "${MODEL}", instructions = "${INSTRUCTIONS}" }

[profiles.once-a-minute]
upstream = "openai"
api = "realtime"
session = { type = "realtime", model = "${MODEL}" }
limits = { mints_per_minute = 1 }

[profiles.interpreter]
upstream = "openai"
api = "translation"
session = { model = "gpt-realtime-translate", audio = { output = { language = "es" } } }

[audit]
sinks = ["file://${audit}"]
required = true

[telemetry]
log = "trace"
log_format = "json"
`;
