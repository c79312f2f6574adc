// Everything that can go wrong is an EphemintError: a stable code, a plain sentence, and what the server said about it.

/**
 * `source` says who refused: `ephemint` (the service), `upstream` (the realtime API) or `browser` (microphone, network, WebRTC).
 * For `source: "upstream"` the provider's own code is in `upstreamCode`.
 */
export class EphemintError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ source?: "ephemint" | "upstream" | "browser", status?: number, requestId?: string, retryAfter?: number,
   *           param?: string, upstreamCode?: string, claims?: string, cause?: unknown }} [details] `retryAfter` in seconds
   */
  constructor(code, message, { source = 'browser', status, requestId, retryAfter, param, upstreamCode, claims, cause } = {}) {
    super(redact(message), cause === undefined ? undefined : { cause });
    this.name = 'EphemintError';
    this.code = code;
    this.source = source;
    this.status = status;
    this.requestId = requestId;
    this.retryAfter = retryAfter;
    this.param = param;
    this.upstreamCode = upstreamCode;
    this.claims = claims;
  }
}

/** Replaces everything that looks like a client secret, an API key or a JWT, so that a text may be shown or logged. */
export function redact(text) {
  return String(text)
    .replace(/\b(ek_|sk-)[\w-]{5,}/g, (secret, prefix) => `${prefix}••••${secret.slice(-4)}`)
    .replace(/\beyJ[\w-]+\.[\w-]+\.[\w-]*/g, 'eyJ••••');
}

/** A refusal by Ephemint: problem details (RFC 9457). */
export async function refusal(response) {
  const body = await readJson(response);
  const code = text(body.code) ?? text(body.error?.code) ?? `http_${response.status}`;
  const message = text(body.detail) ?? text(body.error?.message) ?? `The service answered with status ${response.status}.`;
  return new EphemintError(code, message, {
    source: 'ephemint',
    status: response.status,
    requestId: text(body.request_id) ?? response.headers.get('x-request-id') ?? undefined,
    retryAfter: retryAfter(response.headers),
    param: text(body.error?.param),
    claims: text(body.claims),
  });
}

/** A refusal by the realtime API when the call was placed: OpenAI's `error` object, any field of which may be empty. */
export async function callRefusal(response) {
  const { error = {} } = await readJson(response);
  const code = response.status === 401 ? 'secret_rejected' : 'call_refused';
  const message = text(error?.message) ?? `The realtime API answered with status ${response.status}.`;
  return new EphemintError(code, message, {
    source: 'upstream',
    status: response.status,
    requestId: response.headers.get('x-request-id') ?? undefined,
    retryAfter: retryAfter(response.headers),
    param: text(error?.param),
    upstreamCode: text(error?.code) ?? text(error?.type),
  });
}

async function readJson(response) {
  try {
    const body = await response.json();
    return body !== null && typeof body === 'object' ? body : {};
  } catch {
    return {};
  }
}

function text(value) {
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** Seconds, from delta-seconds or an HTTP date (RFC 9110, section 10.2.3). */
function retryAfter(headers) {
  const value = headers.get('retry-after');
  if (value === null) return undefined;
  const seconds = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, Math.ceil(seconds)) : undefined;
}
