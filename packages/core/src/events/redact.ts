/** What stands where a secret stood. */
export const REDACTED = '[redacted]';
const TOO_DEEP = '[too deep]';
const CIRCULAR = '[circular]';
const DEPTH_MAX = 16;

/**
 * Names of fields that hold a secret, compared whole without `-` and `_` and in lower case: `api_key`, `apiKey` and
 * `Api-Key` are one. Whole names, not substrings: `input_tokens` is a count, not a token.
 */
const SECRET_NAMES: ReadonlySet<string> = new Set(
  `authorization proxyauthorization cookie cookies setcookie apikey xapikey apitoken token accesstoken refreshtoken idtoken authtoken
  sessiontoken bearertoken bearer password passwd passphrase secret secrets secretkey clientsecret privatekey accesskey
  secretaccesskey signingkey encryptionkey credential credentials virtualkey paymentsignature xpayment webhooksecret connectionstring`.split(
    /\s+/,
  ),
);

/** Text that is a secret wherever it stands: keys of known makers, bearer credentials, signed tokens, private keys. */
const SECRET_TEXT = new RegExp(
  [
    String.raw`\b(?:bearer|basic)\s+(?=[\w.~+/-]*[\d=])[\w.~+/=-]{8,}`,
    String.raw`\b(?:sk|rk|pk|vk|pat|rp|rpk|rpvk|gh[pousr]|github_pat|glpat|xox[abeprs]|hf|gsk|r8|npm|whsec)[-_][\w+/=-]{16,}`,
    String.raw`\b(?:A[KS]IA[0-9A-Z]{16}\b|AIza[\w-]{30,}|ya29\.[\w-]{16,}|SG\.[\w-]{16,}\.[\w-]{16,})`,
    String.raw`\beyJ[\w-]{8,}\.eyJ[\w-]{8,}(?:\.[\w-]*)?`,
    String.raw`-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)`,
  ].join('|'),
  'gi',
);
/** `=` or `:`, in JSON too. */
const IS = String.raw`["']?\s{0,4}[=:]\s{0,4}["']?`;
const NAMED = String.raw`(?:\b|_)(?:api[-_]?key|(?:access|refresh|id|auth|session|api)[-_]?token|(?:client|signing|webhook)[-_]?secret|(?:secret|access|private|account|encryption|signing)[-_]?(?:access[-_]?)?key|password|passwd|passphrase|pwd)${IS}`;
/** In prose these words stand before a colon too. */
const WORD = String.raw`\b(?:secret|token)(?:=|["']\s{0,4}:\s{0,4}["']?|\s{0,4}:\s{0,4}["']?(?=[^\s"']*\d))`;
const HEADER = String.raw`\bauthorization${IS}(?:(?:bearer|basic|token)\s{1,4}|(?=[\w.~+/-]*\d|[\w.~+/=-]{20}))`;
/** A secret that its place gives away. The group is what stands before it. */
const SECRET_VALUE = new RegExp(
  [
    String.raw`(${NAMED}|${WORD}|${HEADER})[^\s"'&,;[\]{}]{6,}`,
    String.raw`(\b(?:set-)?cookie${IS}(?=[\w.-]{1,64}=))[^"'\r\n[\]]{4,}`,
    // A user's password in a URL, and addresses that are the key.
    String.raw`(:\/\/)[^\s/:@]+:[^\s/@]+(?=@)`,
    String.raw`(\bhooks\.[\w-]{1,40}\.com\/)[\w/-]{8,}`,
  ].join('|'),
  'gi',
);
/** No secret is written without one of these; most texts are done with at a glance. */
const CUE = /[-_=:]|SG\.|bearer|basic|eyJ|A[KS]IA|AIza|ya29/i;

export function isSecretName(name: string): boolean {
  return SECRET_NAMES.has(name.replace(/[-_\s]/g, '').toLowerCase());
}

/** A text without the secrets it holds. Redacting twice changes nothing. */
export function redactText(text: string): string {
  if (text.length < 8 || !CUE.test(text)) return text;
  return text
    .replace(SECRET_TEXT, REDACTED)
    .replace(
      SECRET_VALUE,
      (_match, ...groups: unknown[]) => `${String(groups.slice(0, 4).find((before) => before !== undefined))}${REDACTED}`,
    );
}

/**
 * A value as plain JSON data without secrets: fields with a secret's name and texts that look like one are replaced,
 * at any depth. What JSON can't hold is left out, cycles and depths beyond 16 are cut, errors become their message.
 */
export function redact(value: unknown): unknown {
  return plain(value, []);
}

function plain(value: unknown, above: readonly object[]): unknown {
  switch (typeof value) {
    case 'string':
      return redactText(value);
    case 'number':
      return Number.isFinite(value) ? value : null;
    case 'boolean':
      return value;
    case 'bigint':
      return value.toString();
    case 'object':
      return value === null ? null : plainObject(value, above);
    default:
      return undefined;
  }
}

function plainObject(value: object, above: readonly object[]): unknown {
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (value instanceof Error) return redactText(`${value.name}: ${value.message}`);
  if (above.includes(value)) return CIRCULAR;
  if (above.length >= DEPTH_MAX) return TOO_DEEP;
  const path = [...above, value];
  if (Array.isArray(value)) return value.map((item) => plain(item, path) ?? null);
  const entries: [string, unknown][] = [];
  for (const [name, item] of Object.entries(value)) {
    const kept = isSecretName(name) && item !== null && item !== undefined ? REDACTED : plain(item, path);
    if (kept !== undefined) entries.push([redactText(name), kept]);
  }
  return Object.fromEntries(entries);
}
