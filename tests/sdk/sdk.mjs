// The official OpenAI SDKs behind one function: `mint` gives the client secret, or the error that the SDK raised.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import OpenAI from 'openai';

const PYTHON = process.env.EPHEMINT_PYTHON ?? 'python3';

export function startSdks() {
  return [node(), python()];
}

function node() {
  return {
    name: 'the Node SDK',
    async mint(baseURL, apiKey, { body = {}, query = {}, api = 'realtime', maxRetries = 0 } = {}) {
      const client = new OpenAI({ apiKey, baseURL, maxRetries });
      try {
        return api === 'translation'
          ? await client.post('/realtime/translations/client_secrets', { body, query })
          : await client.realtime.clientSecrets.create(body, { query });
      } catch (error) {
        if (!error.status) throw error;
        const { status, code, param, message, error: sent } = error;
        return { raised: error.constructor.name, status, code, param, shown: message, sent };
      }
    },
    stop() {},
  };
}

function python() {
  const child = spawn(PYTHON, [fileURLToPath(new URL('mint.py', import.meta.url))], {
    env: { PATH: process.env.PATH },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let problem = '';
  child.stderr.setEncoding('utf8').on('data', (text) => { problem += text; });
  child.on('error', (error) => { problem += error.message; });
  child.stdin.on('error', () => {});
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();

  return {
    name: 'the Python SDK',
    async mint(base_url, api_key, { body = {}, query = {}, api = 'realtime', maxRetries = 0 } = {}) {
      child.stdin.write(`${JSON.stringify({ base_url, api_key, body, query, api, max_retries: maxRetries })}\n`);
      const { value, done } = await answers.next();
      if (done) throw new Error(`${PYTHON} ended: ${problem}`);
      return JSON.parse(value);
    },
    stop: () => child.stdin.end(),
  };
}
