// demo.json: what this page offers. Every key is optional; what has the wrong form is ignored.

const DEFAULTS = Object.freeze({
  ephemint: '',
  sign_in: 'token',
  users: ['alice', 'bob'],
  profiles: ['default'],
  voices: ['marin', 'cedar', 'alloy'],
  scenarios: [],
});

/** @returns {Promise<typeof DEFAULTS>} */
export async function loadSettings() {
  try {
    const response = await fetch('demo.json', { cache: 'no-store', credentials: 'omit' });
    return response.ok ? settings(await response.json()) : DEFAULTS;
  } catch {
    return DEFAULTS;
  }
}

function settings(given) {
  const kept = Object.entries(given ?? {}).filter(([key, value]) => {
    const expected = DEFAULTS[key];
    if (Array.isArray(expected)) return Array.isArray(value) && value.every((name) => typeof name === 'string');
    return typeof expected === 'string' && typeof value === 'string';
  });
  return { ...DEFAULTS, ...Object.fromEntries(kept) };
}
