// The demo page as its users know it: by its labels.
import { until } from './browser.mjs';

export async function signIn(page, url, user = 'alice') {
  await page.goto(url);
  await page.getByRole('button', { name: `Sign in as ${user}` }).click();
}

/** Starts a call; `choices` by label, e.g. `{ Simulate: "slow" }`. */
export async function startCall(page, choices = {}) {
  for (const [label, value] of Object.entries(choices)) await page.getByLabel(label, { exact: true }).selectOption(value);
  await page.getByRole('button', { name: 'Start talking' }).click();
}

/** Waits until the call is in this state: `connecting`, `connected`, `reconnecting` or `closed`. */
export async function state(page, wanted, patience) {
  try {
    await until(`state ${wanted}`, async () => (await page.locator('#screen').getAttribute('data-state')) === wanted, patience);
  } catch (error) {
    error.message += `; the page says: ${await page.locator('#state').innerText()} ${await page.locator('#problem').textContent()}`;
    throw error;
  }
}

/** The conversation: finished lines of both sides. */
export function lines(page) {
  return page.locator('.line:not(.interim)').evaluateAll((items) => items.map((item) => ({
    who: item.querySelector('.name').textContent,
    text: item.querySelector('.text').textContent,
  })));
}

/** Waits for a finished line of one side, after the first `skip` of them. */
export function line(page, who, skip = 0) {
  return until(`a line of ${who}`, async () => (await lines(page)).filter((spoken) => spoken.who === who && spoken.text !== '')[skip]);
}

export function hangUp(page) {
  return page.getByRole('button', { name: 'Hang up' }).click();
}

/** A number of the usage card. */
export async function used(page, name) {
  const text = await page.locator('.counts div', { has: page.getByText(name, { exact: true }) }).locator('dd').textContent();
  return Number(text.replace(/\D/g, ''));
}
