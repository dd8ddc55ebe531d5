/** A time on the wire: RFC 3339 in UTC. */
export function timeText(at: number): string {
  return new Date(at).toISOString();
}

export function timeOrNull(at: number | undefined): string | null {
  return at === undefined ? null : timeText(at);
}
