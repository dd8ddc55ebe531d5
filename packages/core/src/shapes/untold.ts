/** Why the gateway ended a call by itself, at the beginning of the call's `error`: it was held too long, or a restart found it open. */
export const UNTOLD_ENDS = {
  expired: 'it was authorized, but its end was never reported',
  lost: 'the gateway stopped before the answer was recorded',
} as const;

/** Was the call charged at its hold, or left unknown, because nobody told its end? Then the end is still to be told. */
export function isUntold({ error }: { readonly error: string | null }): boolean {
  return error !== null && Object.values(UNTOLD_ENDS).some((reason) => error.startsWith(reason));
}
