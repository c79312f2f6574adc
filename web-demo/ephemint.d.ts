/** Who is wrong: the service, the realtime API, or something in the browser (microphone, network, WebRTC). */
export type ErrorSource = "ephemint" | "upstream" | "browser";

/** What is known about an error beside its code and its sentence. */
export interface ErrorDetails {
  /** Default: `browser`. */
  source?: ErrorSource;
  status?: number;
  requestId?: string;
  /** Seconds. */
  retryAfter?: number;
  param?: string;
  upstreamCode?: string;
  claims?: string;
  cause?: unknown;
}

export class EphemintError extends Error {
  /** For a `getToken` that knows better than `sign_in_failed` what is wrong. The message is redacted. */
  constructor(code: string, message: string, details?: ErrorDetails);
  readonly name: "EphemintError";
  /**
   * Ephemint's own code (`rate_limited`, `token_expired`, ...), or one of: `unreachable`, `no_answer`, `malformed_answer`,
   * `sign_in_failed`, `malformed_token`, `insecure_page`, `microphone_denied`, `microphone_missing`, `microphone_busy`, `secret_rejected`,
   * `call_refused`, `call_unreachable`, `call_no_answer`, `call_failed`, `connection_lost`, `provider_error`, `already_connected`,
   * `not_connected`, `closed`.
   */
  readonly code: string;
  readonly source: ErrorSource;
  readonly status?: number;
  /** For the operator: the same id is in the service's log. */
  readonly requestId?: string;
  /** Seconds. */
  readonly retryAfter?: number;
  /** The JSON pointer, header or parameter in question. */
  readonly param?: string;
  /** The provider's own code, where `source` is `upstream`. */
  readonly upstreamCode?: string;
  /** With `interaction_required`: what to ask the user for at sign-in, a claims request (OpenID Connect) in base64. */
  readonly claims?: string;
}

/** Replaces everything that looks like a client secret, an API key or a JWT. */
export function redact(text: unknown): string;

export interface SecretOptions {
  /** Where Ephemint is; empty: where the page comes from. */
  baseUrl?: string;
  /** The user's access token. Asked again once, with `renew: true`, when the service says that the token has expired.
   * Left out: the user has signed in at Ephemint (`/auth/login`), and this page comes from there. */
  getToken?(request: { renew: boolean }): string | Promise<string>;
  profile?: string;
  /** Session fields that the profile lets clients set, e.g. `{ audio: { output: { voice: "cedar" } } }`. */
  session?: Record<string, unknown>;
  /** 60 to 600, at most what the profile allows; default: the profile's. */
  ttlSeconds?: number;
  signal?: AbortSignal;
}

export interface ClientSecret {
  /** `ek_...`: a credential. Use it at once; do not keep, show or log it. */
  value: string;
  /** Unix seconds. */
  expiresAt: number;
  /** The public part of the session. */
  session: Record<string, unknown>;
  /** Ephemint's id of the session. */
  sessionId: string;
  profile: string;
  /** Where the SDP offer goes. */
  callsUrl: string;
  requestId?: string;
}

/** Trades the user's token for a client secret. One idempotency key, one retry. */
export function requestSecret(options: SecretOptions): Promise<ClientSecret>;

/** Only the value, as `@openai/agents-realtime` wants it: `apiKey: () => clientSecret(options)`. */
export function clientSecret(options: SecretOptions): Promise<string>;

export interface ConnectOptions extends SecretOptions {
  /** `true` (default), constraints, a stream of your own, or `false` to listen and type only. */
  microphone?: boolean | MediaTrackConstraints | MediaStream;
  /** Plays the assistant; default: an element of the session's own; `null`: you play `remoteStream` yourself. */
  audio?: HTMLAudioElement | null;
  /** Answers function calls of the model; what they return or throw is sent back as JSON. A call of a function that is not here is
   * answered with an error. Without `tools`, calls are yours to answer: listen to `event`. */
  tools?: Record<string, (args: any) => unknown>;
  /** Tries in a row when the connection is lost, each with a fresh secret; default 3. */
  reconnect?: number;
  /** Tells Ephemint the call id, so that the call can be counted and ended with its session; default true. */
  reportCall?: boolean;
  /** Added to the calls URL; `index` counts the session's calls from 0. */
  callsQuery?: Record<string, string> | ((index: number) => Record<string, string>);
}

export type SessionState = "idle" | "connecting" | "connected" | "reconnecting" | "closed";

export interface StateDetail {
  state: SessionState;
  /** What is being waited for while connecting. */
  stage?: "microphone" | "secret" | "call" | "waiting";
  /** Of reconnecting, from 1. */
  attempt?: number;
  /** Connected again: a new session of the provider, which does not know what was said before. */
  reconnected?: boolean;
  /** Why it is closed. */
  reason?: "closed" | "hung_up" | "lost" | "failed";
  error?: unknown;
}

export interface TranscriptLine {
  id: string;
  role: "user" | "assistant";
  /** All of it so far. */
  text: string;
  final: boolean;
  spoken: boolean;
  /** There is no text: the provider could not, or for this session does not, transcribe. */
  failed?: boolean;
}

/** Tokens, except `responses` (a count) and `transcriptionSeconds`. */
export interface Usage {
  readonly responses: number;
  readonly inputText: number;
  readonly inputAudio: number;
  readonly inputCached: number;
  readonly outputText: number;
  readonly outputAudio: number;
  readonly transcription: number;
  readonly transcriptionSeconds: number;
  readonly total: number;
}

export interface SessionEvents {
  state: CustomEvent<StateDetail>;
  /** A secret was minted: its last four characters and its expiry, never its value. */
  secret: CustomEvent<{ hint: string; expiresAt: number; sessionId: string; profile: string }>;
  /** A call was opened. */
  call: CustomEvent<{ callId?: string; sessionId: string }>;
  /** The assistant's audio is there. */
  track: CustomEvent<{ stream: MediaStream }>;
  /** Any server event of the realtime API. */
  event: CustomEvent<{ type: string; [field: string]: any }>;
  /** Any client event that was sent. */
  sent: CustomEvent<{ type: string; [field: string]: any }>;
  transcript: CustomEvent<TranscriptLine>;
  usage: CustomEvent<Usage>;
  /** A function call of the model: first without, then with `output`. */
  tool: CustomEvent<{ id: string; name: string; arguments: string; output: unknown }>;
  /** Something went wrong that does not end the session. What ends it comes with the state `closed`. */
  error: CustomEvent<EphemintError>;
}

export class Session extends EventTarget {
  constructor(options: ConnectOptions);
  readonly state: SessionState;
  readonly callId: string | undefined;
  readonly sessionId: string | undefined;
  readonly localStream: MediaStream | null;
  readonly remoteStream: MediaStream | null;
  readonly usage: Usage;
  readonly muted: boolean;
  connect(): Promise<void>;
  /** Sends a client event of the realtime API. */
  send(event: { type: string; [field: string]: unknown }): void;
  sendText(text: string): void;
  setMuted(muted: boolean): void;
  getStats(): Promise<RTCStatsReport | undefined>;
  /** Hangs up, stops the microphone, ends the session at Ephemint. */
  close(): Promise<void>;
  addEventListener<K extends keyof SessionEvents>(
    type: K, listener: (event: SessionEvents[K]) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions): void;
}

/** Opens a session and resolves when it takes events. */
export function connect(options: ConnectOptions): Promise<Session>;

/** How loud a stream is: 0 (-60 dBFS and below) to 1 (full scale). */
export function createMeter(stream: MediaStream, context: AudioContext): { level(): number; close(): void };
