// Every way in which a session can be refused, in plain sentences: what happened, what to do, and which button helps.

/**
 * What helps: `retry` (the same again), `wait` (the same again, later), `sign_in`, `choose` (another profile or voice),
 * `listen` (go on without a microphone), `operator` (somebody else has to act).
 * @typedef {{ title: string, advice: string, action: "retry" | "wait" | "sign_in" | "choose" | "listen" | "operator" }} Advice
 */

const rows = (table) => Object.fromEntries(table.map(([code, action, title, advice]) => [code, { title, advice, action }]));

const MISUSE = 'This page asked for something that the service does not understand. Reload the page; if it stays, tell the operator the request id.';
const OPERATOR = 'There is nothing that you can do here. Tell the operator the request id below.';

/** Refusals by Ephemint, by their stable code. */
export const SERVICE = rows([
  ['invalid_json', 'operator', 'The request was not understood', MISUSE],
  ['unknown_field', 'operator', 'The request has an unknown field', MISUSE],
  ['duplicate_header', 'operator', 'A header was sent twice', 'Something between this page and the service changes requests, perhaps a proxy. Tell the operator.'],
  ['ttl_out_of_range', 'operator', 'The lifetime is out of range', 'Client secrets live 60 to 600 seconds, and no longer than the profile allows.'],
  ['invalid_idempotency_key', 'operator', 'The request was not understood', MISUSE],
  ['invalid_sdp', 'retry', 'The call offer was not understood', 'The browser made an offer that the service cannot read. Try again, or use another browser.'],
  ['missing_credentials', 'sign_in', 'You are not signed in', 'Sign in again, then start the call.'],
  ['invalid_token', 'sign_in', 'Your sign-in is not accepted', 'The access token is not from an issuer that the service trusts, or it was changed. Sign in again.'],
  ['token_expired', 'sign_in', 'Your sign-in has expired', 'Sign in again, then start the call.'],
  ['interaction_required', 'sign_in', 'Your organisation wants to see you', 'Sign in again and answer what your organisation asks for, for example a second factor.'],
  ['insufficient_scope', 'sign_in', 'Your sign-in does not include voice', 'The access token lacks a scope. Sign in again with an account or an app that has it.'],
  ['profile_forbidden', 'choose', 'This profile is not for you', 'Choose another profile, or ask the operator for access. A profile that does not exist gives the same answer.'],
  ['session_field_not_allowed', 'choose', 'The profile does not allow this choice', 'The profile fixes this setting. Choose the voice “Default” and try again.'],
  ['user_blocked', 'operator', 'You are blocked', 'The operator has blocked this user. Ask them why.'],
  ['origin_not_allowed', 'operator', 'This website may not call', 'The operator has to add this page’s address to server.allowed_origins.'],
  ['not_found', 'operator', 'There is no such service here', 'Check the address of Ephemint in the settings of this page.'],
  ['method_not_allowed', 'operator', 'The request was not understood', MISUSE],
  ['not_acceptable', 'operator', 'The request was not understood', MISUSE],
  ['request_timeout', 'retry', 'The request took too long to arrive', 'Your connection is slow at the moment. Try again.'],
  ['idempotency_conflict', 'retry', 'The request was sent twice', 'A request with the same key came before it. Try again; a new key is made.'],
  ['call_already_reported', 'retry', 'The session has a call already', 'The service meters the one that was reported first. This call goes on.'],
  ['body_too_large', 'operator', 'The request is too large', MISUSE],
  ['unsupported_media_type', 'operator', 'The request was not understood', MISUSE],
  ['rate_limited', 'wait', 'Too many calls in a short time', 'You have used up your calls for this minute. The button becomes free by itself.'],
  ['concurrency_limited', 'wait', 'You are already in a call', 'Hang up in the other window or on the other device, or wait until that session expires.'],
  ['quota_exhausted', 'operator', 'Your quota for this month is used up', 'It starts anew with the month. If you need more now, ask the operator.'],
  ['internal', 'retry', 'Something went wrong at the service', 'Try again. If it stays, tell the operator the request id.'],
  ['upstream_auth_failed', 'operator', 'The provider refuses the service’s key', OPERATOR],
  ['upstream_permission_denied', 'operator', 'The provider does not permit this', OPERATOR],
  ['upstream_rejected', 'operator', 'The provider does not accept this session', OPERATOR],
  ['upstream_malformed', 'retry', 'The provider’s answer cannot be used', 'Try again in a while. If it stays, tell the operator the request id.'],
  ['upstream_billing', 'operator', 'The provider account has no budget left', OPERATOR],
  ['upstream_rate_limited', 'wait', 'The provider is limiting requests', 'Many people are calling at the moment. The button becomes free by itself.'],
  ['upstream_unavailable', 'wait', 'The provider cannot be reached', 'This usually passes within minutes. The button becomes free by itself.'],
  ['identity_unavailable', 'wait', 'Sign-in cannot be checked at the moment', 'The issuer of your access token does not answer. The button becomes free by itself.'],
  ['credential_unavailable', 'wait', 'The service has no key at the moment', 'Its operator has been told. The button becomes free by itself.'],
  ['store_unavailable', 'wait', 'Limits cannot be checked at the moment', 'Without its store the service lets nobody in. The button becomes free by itself.'],
  ['audit_unavailable', 'wait', 'The call cannot be recorded at the moment', 'What cannot be written down is not allowed. The button becomes free by itself.'],
  ['locked_down', 'operator', 'Calls are switched off', 'The operator has stopped all calls for now. Try again later.'],
  ['overloaded', 'wait', 'The service is busy', 'It handles as many requests as it can. The button becomes free by itself.'],
  ['shutting_down', 'wait', 'The service is restarting', 'Another instance answers in a moment. The button becomes free by itself.'],
  ['upstream_timeout', 'retry', 'The provider did not answer in time', 'Try again.'],
]);

/** What goes wrong in the browser or on the way. */
export const BROWSER = rows([
  ['unreachable', 'retry', 'The service cannot be reached', 'Check that Ephemint runs at the address of this page’s settings, that you are online, and that this page’s address is in its server.allowed_origins.'],
  ['no_answer', 'retry', 'The service does not answer', 'Your connection may be slow. Try again.'],
  ['malformed_answer', 'operator', 'This does not look like Ephemint', 'The address answers, but not as Ephemint does. Check the address in the settings of this page.'],
  ['sign_in_failed', 'sign_in', 'You could not be signed in', 'Sign in again. In development, check that “ephemint dev” is still running.'],
  ['malformed_token', 'sign_in', 'This is not an access token', 'It has a character that tokens never have. Sign in again; if you pasted it, copy it once more, whole and alone.'],
  ['insecure_page', 'listen', 'This page may not use the microphone', 'Browsers allow it only over HTTPS or on this machine. You can listen and type instead.'],
  ['microphone_denied', 'listen', 'The microphone is blocked', 'Allow it with the symbol beside the address bar, then try again. Or listen and type.'],
  ['microphone_missing', 'listen', 'No microphone was found', 'Connect one and try again. Or listen and type.'],
  ['microphone_busy', 'listen', 'The microphone is in use', 'Close the program that uses it and try again. Or listen and type.'],
  ['secret_rejected', 'retry', 'The realtime API refuses the secret', 'A fresh one was refused as well. Check the clock of this device, then try again.'],
  ['call_refused', 'retry', 'The realtime API refuses the call', 'Try again in a moment.'],
  ['call_unreachable', 'retry', 'The realtime API cannot be reached', 'A firewall or an extension may block it. Try again, or use another network.'],
  ['call_no_answer', 'retry', 'The realtime API does not answer', 'Try again in a moment.'],
  ['call_failed', 'retry', 'No audio connection came about', 'A firewall may block WebRTC. Try again, or use another network.'],
  ['connection_lost', 'retry', 'The connection was lost', 'It did not come back after several tries. Check your network and call again.'],
]);

/** Refusals by the realtime API, by the provider's own code. */
export const PROVIDER = rows([
  ['rate_limit_exceeded', 'wait', 'The provider is limiting requests', 'Many people are calling at the moment. Wait a little, then try again.'],
  ['slow_down', 'wait', 'The provider is limiting requests', 'Many people are calling at the moment. Wait a little, then try again.'],
  ['insufficient_quota', 'operator', 'The provider account has no budget left', 'Trying again does not help. The operator has to look at the billing of the provider account.'],
  ['credit_balance_exhausted', 'operator', 'The provider account has no budget left', 'Trying again does not help. The operator has to look at the billing of the provider account.'],
  ['server_error', 'retry', 'The provider has a fault', 'This usually passes. Try again in a moment.'],
  ['server_is_overloaded', 'retry', 'The provider is overloaded', 'This usually passes. Try again in a moment.'],
  ['session_expired', 'retry', 'The call reached its maximum length', 'Start a new call to go on.'],
  ['model_not_found', 'operator', 'The provider does not know the model', 'The operator has to check the model of the profile.'],
]);

const UNKNOWN = { title: 'The call could not be opened', advice: 'Try again. If it stays, tell the operator the request id.', action: 'retry' };

/**
 * @param {{ code?: string, source?: string, upstreamCode?: string, status?: number }} error
 * @returns {Advice}
 */
export function adviceFor({ code, source, upstreamCode, status }) {
  if (source === 'upstream') {
    const known = PROVIDER[upstreamCode] ?? (status === 429 ? PROVIDER.rate_limit_exceeded : undefined);
    return known ?? (status >= 500 ? PROVIDER.server_error : undefined) ?? BROWSER[code] ?? UNKNOWN;
  }
  return SERVICE[code] ?? BROWSER[code] ?? UNKNOWN;
}
