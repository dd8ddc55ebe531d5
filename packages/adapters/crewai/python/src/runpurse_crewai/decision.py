"""What the gateway decides, and how a refusal surfaces in CrewAI: as its own `HookAborted`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from crewai.hooks import HookAborted

from .redact import redact_text

# Refusals that say "you may not", as opposed to those that say that a request of ours was no good or the gateway is ill.
DENIALS = frozenset(
    {
        "invalid_key",
        "budget_exceeded",
        "policy_denied",
        "identity_forged",
        "not_permitted",
        "model_not_found",
        "run_paused",
        "run_ended",
        "context_conflict",
        "conflict",
        "price_unknown",
        "rate_limited",
    }
)


@dataclass(frozen=True)
class Refusal:
    """Why the gateway said no: `code` for programs, `message` for people, `details` with the amounts and names."""

    code: str
    message: str
    blocked_by: str | None = None
    details: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """The answer to a question. `proceed` holds the failure policy's word when there was no answer."""

    type: Literal["allowed", "denied", "unavailable"]
    proceed: bool
    refusal: Refusal | None = None
    message: str = ""


ALLOWED = Decision("allowed", True)


class Refused(HookAborted):
    """The gateway refused the call, and it was not made."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message, source="runpurse")
        self.refusal = refusal


class GatewayUnavailable(HookAborted):
    """The gateway could not be asked, and the failure policy is `closed`: the call was not made."""

    def __init__(self, message: str) -> None:
        super().__init__(message, source="runpurse")


def or_raise(decision: Decision) -> None:
    if decision.proceed:
        return
    if decision.refusal is not None:
        raise Refused(decision.refusal)
    raise GatewayUnavailable(decision.message)


def refusal_in(body: object) -> Refusal | None:
    """The refusal in an error reply of the gateway; None when it is none."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        return None
    code = error.get("code")
    if not isinstance(code, str) or code not in DENIALS:
        return None
    rest = {
        str(name): value
        for name, value in error.items()
        if name not in ("message", "type", "param", "code", "blocked_by") and isinstance(value, (str, int, float))
    }
    blocked_by = error.get("blocked_by")
    return Refusal(
        code,
        redact_text(str(error.get("message") or f"The gateway refused it: {code}.")),
        blocked_by if isinstance(blocked_by, str) else None,
        rest,
    )


def refusal_of(error: BaseException | None) -> Refusal | None:
    """The refusal behind whatever a crew raised: ours, or the model client's error on a call that passed the gateway."""
    for cause in _chain(error):
        if isinstance(cause, Refused):
            return cause.refusal
        kept = getattr(cause, _KEPT, None) or _refusal_answered(cause)
        if isinstance(kept, Refusal):
            return kept
    return None


def keep_refusal(error: BaseException) -> None:
    """So that it is found when the error is raised anew, with something else behind it."""
    refusal = refusal_of(error)
    if refusal is not None:
        setattr(error, _KEPT, refusal)


_KEPT = "_runpurse_refusal"


def _refusal_answered(error: BaseException) -> Refusal | None:
    response = getattr(error, "response", None)
    headers = getattr(response, "headers", None)
    if headers is None or "x-runpurse-refusal" not in headers:
        return None
    body = getattr(error, "body", None)
    if body is None:
        with suppress(Exception):  # What stands for an answer need not be one.
            body = getattr(response, "json")()
    return refusal_in(body if isinstance(body, Mapping) and "error" in body else {"error": body})


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
