// Waiting that an AbortSignal can end.

/** Resolves after `ms` milliseconds; rejects with the signal's reason when it aborts first. */
export function wait(ms, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const timer = setTimeout(settle, ms, resolve);
    signal?.addEventListener('abort', onAbort, { once: true });

    function onAbort() {
      settle(() => reject(signal.reason));
    }
    function settle(then) {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      then();
    }
  });
}

/** Resolves as soon as the browser believes that it has a network, at the latest after `ms` milliseconds. */
export async function online(ms, signal) {
  if (navigator.onLine !== false) return;
  const found = new AbortController();
  const onOnline = () => found.abort();
  addEventListener('online', onOnline, { once: true });
  try {
    await wait(ms, AbortSignal.any([signal, found.signal]));
  } catch (error) {
    if (signal.aborted) throw error;
  } finally {
    removeEventListener('online', onOnline);
  }
}

/** What `promise` gives; rejects with the signal's reason when it aborts first. The work behind the promise goes on. */
export function unlessAborted(promise, signal) {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
