// Functions that the model may call. They run in this page; a product would ask its own back end.

const SKIES = ['clear', 'light clouds', 'a fresh breeze', 'light rain', 'fog that lifts by noon'];

export const TOOLS = {
  /** Made up, but always the same for the same place. */
  get_weather({ location, city } = {}) {
    const place = String(location ?? city ?? 'here').slice(0, 80);
    const seed = [...place.toLowerCase()].reduce((sum, char) => (sum * 31 + char.codePointAt(0)) % 9973, 7);
    return { location: place, celsius: 8 + (seed % 19), sky: SKIES[seed % SKIES.length], source: 'made up by the demo page' };
  },
  get_time() {
    return { time: new Date().toLocaleTimeString('en', { hour: '2-digit', minute: '2-digit' }), zone: Intl.DateTimeFormat().resolvedOptions().timeZone };
  },
};
