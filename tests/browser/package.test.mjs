// The npm package `ephemint`: what is in it, its types for a strict TypeScript app, and its import in Node.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join, sep } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const SOURCE = fileURLToPath(new URL('../../web-demo', import.meta.url));
const TSC = fileURLToPath(new URL('node_modules/typescript/lib/tsc.js', import.meta.url));
/** A distribution's npm may only run on the distribution's own Node: not on one that a package brought. */
const PATH = process.env.PATH.split(delimiter).filter((folder) => !folder.endsWith(join('node_modules', '.bin'))).join(delimiter);

let app;

before(async () => {
  app = await mkdtemp(join(tmpdir(), 'ephemint-package-'));
  await run('npm', ['pack', '--silent', '--pack-destination', app, SOURCE], { cwd: app, env: { ...process.env, PATH, npm_config_update_notifier: 'false' } });
  const [archive] = (await readdir(app)).filter((name) => name.endsWith('.tgz'));
  const installed = join(app, 'node_modules', 'ephemint');
  await mkdir(installed, { recursive: true });
  await run('tar', ['-xzf', join(app, archive), '-C', installed, '--strip-components=1']);
  await writeFile(join(app, 'package.json'), '{ "type": "module", "private": true }');
});
after(() => rm(app, { recursive: true }));

test('it holds the module and its types, and nothing of the page', async () => {
  const files = await readdir(join(app, 'node_modules', 'ephemint'), { recursive: true });
  const modules = (await readdir(join(SOURCE, 'client'))).map((name) => ['client', name].join(sep));
  assert.deepEqual(files.sort(), ['README.md', 'client', ...modules, 'ephemint.d.ts', 'ephemint.js', 'package.json'].sort());
});

test('Node imports it, with everything that the types promise', async () => {
  const script = `
    import * as ephemint from 'ephemint';
    const error = new ephemint.EphemintError('busy', 'ek_0123456789abcdef', { retryAfter: 3 });
    const found = await ephemint.requestSecret({ baseUrl: 'http://127.0.0.1:9', getToken: () => 'two words' }).catch(({ code }) => code);
    console.log(JSON.stringify({ names: Object.keys(ephemint), error: [error.code, error.message, error.source, error.retryAfter, error instanceof Error], found }));`;
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', script], { cwd: app });
  const { names, error, found } = JSON.parse(stdout);
  const types = await readFile(join(app, 'node_modules', 'ephemint', 'ephemint.d.ts'), 'utf8');
  const promised = [...types.matchAll(/^export (?:class|function|const) (\w+)/gm)].map(([, name]) => name);
  assert.deepEqual(names.sort(), promised.sort());
  assert.deepEqual(error, ['busy', 'ek_••••cdef', 'browser', 3, true]);
  assert.equal(found, 'malformed_token');
});

test('a strict TypeScript app that uses all of it compiles, and its mistakes do not', async () => {
  await writeFile(join(app, 'app.ts'), `
import { connect, createMeter, EphemintError, redact, requestSecret, clientSecret, Session } from "ephemint";
import type { ClientSecret, ConnectOptions, ErrorSource, SessionState, TranscriptLine, Usage } from "ephemint";

const options: ConnectOptions = {
  baseUrl: "https://voice.example.com",
  getToken: async ({ renew }) => (renew ? "new" : "old"),
  profile: "default",
  session: { audio: { output: { voice: "cedar" } } },
  ttlSeconds: 60,
  signal: AbortSignal.timeout(1000),
  microphone: { echoCancellation: false },
  audio: null,
  tools: { get_weather: async ({ city }) => ({ city }) },
  reconnect: 1,
  reportCall: false,
  callsQuery: (index) => ({ scenario: index > 0 ? "happy" : "slow" }),
};

export async function talk(): Promise<Usage> {
  const session: Session = await connect(options);
  session.addEventListener("transcript", ({ detail }) => show(detail));
  session.addEventListener("error", ({ detail }) => report(detail));
  session.addEventListener("state", ({ detail: { state, reason } }) => { const now: SessionState = state; console.log(now, reason); });
  session.addEventListener("usage", ({ detail }) => console.log(detail.total.toFixed()));
  session.sendText("Good morning!");
  session.setMuted(true);
  session.send({ type: "response.create" });
  if (session.remoteStream) createMeter(session.remoteStream, new AudioContext()).level().toFixed(1);
  await session.close();
  return session.usage;
}

export async function mint(): Promise<string> {
  const minted: ClientSecret = await requestSecret(options);
  return minted.value === "" ? clientSecret({}) : redact(minted.callsUrl);
}

export function report(error: EphemintError): string {
  const source: ErrorSource = error.source;
  return [source, error.code, error.status?.toFixed(), error.retryAfter?.toFixed(), error.requestId, error.upstreamCode].join(" ");
}

function show({ role, text, final }: TranscriptLine): void { console.log(role, text, final); }

export const own = new EphemintError("sign_in_failed", "No token.", { source: "browser", status: 401, retryAfter: 1, cause: new Error("x") });

// @ts-expect-error the first argument is the code, and a sentence has to follow
new EphemintError("A message alone");
// @ts-expect-error three parties can be wrong
new EphemintError("code", "message", { source: "somebody" });
// @ts-expect-error what went wrong is fixed
own.code = "other";
// @ts-expect-error a lifetime is a number
void requestSecret({ ttlSeconds: "60" });
// @ts-expect-error a token is a string
void connect({ getToken: () => 7 });
`);
  await writeFile(join(app, 'tsconfig.json'), JSON.stringify({
    compilerOptions: { noEmit: true, strict: true, exactOptionalPropertyTypes: true, module: 'nodenext', target: 'es2022', lib: ['es2022', 'dom'], types: [] },
    files: ['app.ts'],
  }));
  const { stdout } = await run(process.execPath, [TSC, '--project', app]).catch((error) => error);
  assert.equal(stdout, '');
});
