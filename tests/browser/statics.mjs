// A static host on loopback: the web demo, the packages of these tests, and pages of a test's own.
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

const FOLDERS = {
  '/demo/': fileURLToPath(new URL('../../web-demo/', import.meta.url)),
  '/packages/': fileURLToPath(new URL('node_modules/', import.meta.url)),
};
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.json': 'application/json',
};

/** @param {Record<string, string>} pages HTML by path; `demo.json` files too */
export async function startStaticHost(pages) {
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://host');
    const content = pages[pathname] ?? (await file(pathname));
    if (content === undefined) return response.writeHead(404).end();
    response.setHeader('content-type', TYPES[extname(pathname)] ?? TYPES['.html']);
    return response.end(content);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    pages,
    stop() {
      server.closeAllConnections();
      server.close();
    },
  };
}

async function file(pathname) {
  const prefix = Object.keys(FOLDERS).find((folder) => pathname.startsWith(folder));
  if (!prefix || pathname.includes('..')) return undefined;
  const rest = pathname.slice(prefix.length) || 'index.html';
  return readFile(FOLDERS[prefix] + rest).catch(() => undefined);
}
