export type Window = 'lifetime' | 'day' | 'month';

const DAY_MS = 86_400_000;

let cachedDay = -1;
let cachedText = '';

/** The UTC day of a time, `2026-11-24`; the last one is kept, since nearly every call of a day asks for the same. */
export function utcDay(at: number): string {
  const day = Math.floor(at / DAY_MS);
  if (day !== cachedDay) {
    cachedText = new Date(day * DAY_MS).toISOString().slice(0, 10);
    cachedDay = day;
  }
  return cachedText;
}

/** Names the window instance a charge falls in: `` for lifetime, the UTC day, or the UTC month. */
export function windowKey(window: Window, at: number): string {
  if (window === 'lifetime') return '';
  const day = utcDay(at);
  return window === 'day' ? day : day.slice(0, 7);
}

/** First and last UTC day of a window instance, for sums over the views; undefined bounds for lifetime. */
export function windowDays(window: Window, at: number): { readonly fromDay: string | undefined; readonly toDay: string | undefined } {
  if (window === 'lifetime') return { fromDay: undefined, toDay: undefined };
  const day = utcDay(at);
  if (window === 'day') return { fromDay: day, toDay: day };
  return { fromDay: `${day.slice(0, 7)}-01`, toDay: `${day.slice(0, 7)}-31` };
}

/** When the window ends and its budget starts anew, RFC 3339; undefined for lifetime. */
export function windowResetsAt(window: Window, at: number): string | undefined {
  if (window === 'lifetime') return undefined;
  const date = new Date(at);
  return window === 'day'
    ? new Date(Math.floor(at / DAY_MS) * DAY_MS + DAY_MS).toISOString()
    : new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + 1, 1)).toISOString();
}
