import { sha256OfBytes } from '../run/sha256.ts';

const BLOCK_BYTES = 64;

/** HMAC-SHA-256 (RFC 2104) as 32 bytes, for a receiver that has no crypto module. */
export function hmacSha256(key: readonly number[], message: readonly number[]): readonly number[] {
  const short = key.length > BLOCK_BYTES ? sha256OfBytes(key) : key;
  const padded = Array.from({ length: BLOCK_BYTES }, (_, index) => short[index] ?? 0);
  const inner = sha256OfBytes(padded.map((byte) => byte ^ 0x36).concat(message));
  return sha256OfBytes(padded.map((byte) => byte ^ 0x5c).concat(inner));
}
