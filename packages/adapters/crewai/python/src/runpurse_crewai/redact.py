"""Texts without the secrets they hold: the same rules as the gateway's, applied before anything leaves this process."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

REDACTED = "[redacted]"
_DEPTH_MAX = 16

# Names of fields that hold a secret, compared whole without `-` and `_`: `input_tokens` is a count, not a token.
_SECRET_NAMES = frozenset(
    """authorization proxyauthorization cookie cookies setcookie apikey xapikey apitoken token accesstoken refreshtoken
    idtoken authtoken sessiontoken bearertoken bearer password passwd passphrase secret secrets secretkey clientsecret
    privatekey accesskey secretaccesskey signingkey encryptionkey credential credentials virtualkey paymentsignature
    xpayment webhooksecret connectionstring""".split()
)

# Keys of known makers, bearer credentials, signed tokens, private keys.
_SECRET_TEXT = re.compile(
    r"\b(?:bearer|basic)\s+(?=[\w.~+/-]*[\d=])[\w.~+/=-]{8,}"
    r"|\b(?:sk|rk|pk|vk|pat|rp|rpk|rpvk|gh[pousr]|github_pat|glpat|xox[abeprs]|hf|gsk|r8|npm|whsec)[-_][\w+/=-]{16,}"
    r"|\b(?:A[KS]IA[0-9A-Z]{16}\b|AIza[\w-]{30,}|ya29\.[\w-]{16,}|SG\.[\w-]{16,}\.[\w-]{16,})"
    r"|\beyJ[\w-]{8,}\.eyJ[\w-]{8,}(?:\.[\w-]*)?"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    re.IGNORECASE | re.ASCII,
)
_IS = r"[\"']?\s{0,4}[=:]\s{0,4}[\"']?"
_NAMED = (
    r"(?:\b|_)(?:api[-_]?key|(?:access|refresh|id|auth|session|api)[-_]?token|(?:client|signing|webhook)[-_]?secret"
    r"|(?:secret|access|private|account|encryption|signing)[-_]?(?:access[-_]?)?key|password|passwd|passphrase|pwd)" + _IS
)
_WORD = r"\b(?:secret|token)(?:=|[\"']\s{0,4}:\s{0,4}[\"']?|\s{0,4}:\s{0,4}[\"']?(?=[^\s\"']*\d))"
_HEADER = r"\bauthorization" + _IS + r"(?:(?:bearer|basic|token)\s{1,4}|(?=[\w.~+/-]*\d|[\w.~+/=-]{20}))"
# What its place gives away: after `password=` and the like, a user's password in a URL, an address that is the key.
_SECRET_VALUE = re.compile(
    rf"({_NAMED}|{_WORD}|{_HEADER})[^\s\"'&,;\[\]{{}}]{{6,}}"
    rf"|(\b(?:set-)?cookie{_IS}(?=[\w.-]{{1,64}}=))[^\"'\r\n\[\]]{{4,}}"
    r"|(://)[^\s/:@]+:[^\s/@]+(?=@)"
    r"|(\bhooks\.[\w-]{1,40}\.com/)[\w/-]{8,}",
    re.IGNORECASE | re.ASCII,
)


def well_formed(text: str) -> str:
    """A text that UTF-8 can hold: halves of characters, which a model may write and file names may have, become U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def redact_text(text: str) -> str:
    """A text without the secrets it holds, and well-formed. Redacting twice changes nothing."""
    text = well_formed(text)
    return _SECRET_VALUE.sub(lambda match: f"{next(before for before in match.groups() if before is not None)}{REDACTED}", _SECRET_TEXT.sub(REDACTED, text))


def is_secret_name(name: str) -> bool:
    return re.sub(r"[-_\s]", "", name).lower() in _SECRET_NAMES


def redact(value: object, depth: int = 0) -> object:
    """A value as plain JSON data without secrets; what JSON can't hold becomes the name of its type."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return redact_text(value)
    if depth >= _DEPTH_MAX:
        return "[too deep]"
    if isinstance(value, Mapping):
        return {
            redact_text(str(name)): REDACTED if is_secret_name(str(name)) and item is not None else redact(item, depth + 1)
            for name, item in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        return [redact(item, depth + 1) for item in value]
    return type(value).__name__
