"""What CrewAI and its model clients say, in the gateway's words. Pure: no clock, no network, no state."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from .redact import redact, redact_text, well_formed

_VALUE_BYTES_MAX = 256
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_ERROR_TEXT_MAX = 500

HEADER_BY_FIELD = {
    "agent_id": "Alephant-Agent-Id",
    "run_id": "Alephant-Run-Id",
    "session_id": "Alephant-Session-Id",
    "workflow_id": "Alephant-Workflow-Id",
    "customer_id": "Alephant-Customer-Id",
    "step_id": "Alephant-Step-Id",
    "parent_step_id": "Alephant-Parent-Step-Id",
    "attempt": "Alephant-Step-Attempt",
}


def usable_id(value: object) -> str | None:
    """The same id in headers and events: on one line, and when too long for a header cut, with a hash that keeps it unique."""
    text = well_formed(" ".join(_CONTROL.sub(" ", str(value)).split())) if value is not None else ""
    if text == "":
        return None
    if len(text.encode()) <= _VALUE_BYTES_MAX:
        return text
    return f"{text[:48]}~{hashlib.sha256(text.encode()).hexdigest()}"


def headers_of(place: Mapping[str, object]) -> dict[str, str]:
    """The headers that carry a place on a model call; text beyond ASCII in the encoding of RFC 8187."""
    headers: dict[str, str] = {}
    for field, name in HEADER_BY_FIELD.items():
        text = usable_id(place.get(field))
        if text is not None:
            is_plain = text.isascii() and text.isprintable() and not text.startswith("UTF-8''")
            headers[name] = text if is_plain else "UTF-8''" + quote(text, safe="!'()*")
    return headers


def error_text(error: object) -> str:
    """What went wrong, without secrets and not longer than a line or two: error texts like to quote what was sent."""
    try:
        text = str(error) if not isinstance(error, BaseException) else (str(error) or type(error).__name__)
    except Exception:  # Anything can be raised, and may say nothing of itself.
        text = type(error).__name__
    return redact_text(text)[:_ERROR_TEXT_MAX]


def input_hash(tool_input: object) -> str | None:
    """
    Fingerprint of a tool's input, so that the gateway sees identical calls in a row without seeing what they say. None for an
    input that can't be read: the call is asked for all the same.
    """
    try:
        text = json.dumps(redact(tool_input), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return f"sha256:{hashlib.sha256(well_formed(text).encode()).hexdigest()}"
    except Exception:  # Objects of the user's own may raise whatever they like when they are read.
        return None


class _Spelling(NamedTuple):
    """How a provider spells usage in `LLMCallCompletedEvent.usage`; taken when all of `needs` are there."""

    needs: tuple[str, ...]
    output: str
    read: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    is_uncached: bool = False
    """The input, the first of `needs`, leaves the cached part out."""


_SPELLINGS = (
    _Spelling(
        ("prompt_tokens",),
        "completion_tokens",
        ("cached_prompt_tokens", "cached_tokens", "prompt_tokens_details.cached_tokens"),
        ("cache_creation_tokens", "cache_creation_input_tokens"),
    ),
    _Spelling(("prompt_token_count",), "completion_tokens", ("cached_prompt_tokens",)),
    _Spelling(
        ("input_tokens", "cache_read_input_tokens"), "output_tokens", ("cache_read_input_tokens",), ("cache_creation_input_tokens",), True
    ),
    _Spelling(("input_tokens", "cache_creation_input_tokens"), "output_tokens", (), ("cache_creation_input_tokens",), True),
    _Spelling(("input_tokens",), "output_tokens", ("cached_prompt_tokens",), ("cache_creation_tokens",)),
    _Spelling(("inputTokens",), "outputTokens", ("cacheReadInputTokens",), ("cacheWriteInputTokens",), True),
)
# More than any one call can use: a figure above it was not measured, and the gateway takes none.
_USED_MAX = 1_000_000_000
_REASONING = ("reasoning_tokens", "completion_tokens_details.reasoning_tokens")


def usage_of(usage: object) -> dict[str, int | None] | None:
    """Usage in disjoint classes; None when the provider did not say (CrewAI writes `total_tokens: 0` then)."""
    if not isinstance(usage, Mapping):
        return None
    for spelling in _SPELLINGS:
        if any(_count(usage, name) is None for name in spelling.needs):
            continue
        total = _count(usage, spelling.needs[0]) or 0
        read = _first(usage, spelling.read)
        written = _first(usage, spelling.written)
        return {
            "input_tokens": total if spelling.is_uncached else max(0, total - read - written),
            "cache_read_tokens": read,
            "cache_write_5m_tokens": written,
            "cache_write_1h_tokens": 0,
            "output_tokens": _count(usage, spelling.output),
            "reasoning_tokens": _first(usage, _REASONING),
            "audio_input_tokens": 0,
            "audio_output_tokens": 0,
        }
    return None


def _first(usage: Mapping[str, Any], names: Sequence[str]) -> int:
    return next((count for name in names if (count := _count(usage, name)) is not None), 0)


def _count(usage: Mapping[str, Any], path: str) -> int | None:
    value: object = usage
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _USED_MAX else None


def input_tokens_max(messages: object, tools: Sequence[object] | None) -> int | None:
    """An upper bound on a call's input: a token is at least a byte. None where it can't be told, as with images."""
    try:
        sent = well_formed(json.dumps(messages, ensure_ascii=False, default=_refuse))
        if tools is None or _holds_media(messages):
            return None
        described = sum(len(well_formed(_description(tool)).encode()) for tool in tools)
        return len(sent.encode()) + 2 * described
    except (TypeError, ValueError, RecursionError):
        return None


def _holds_media(messages: object) -> bool:
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        return False
    return any(
        isinstance(message, Mapping)
        and (message.get("files") or any(isinstance(part, Mapping) and part.get("type") != "text" for part in _parts(message)))
        for message in messages
    )


def _parts(message: Mapping[str, Any]) -> Sequence[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else ()


def _description(tool: Any) -> str:
    schema: Callable[[], object] | None = getattr(getattr(tool, "args_schema", None), "model_json_schema", None)
    return f"{getattr(tool, 'name', '')}{getattr(tool, 'description', '')}{json.dumps(schema()) if schema else ''}{' ' * 200}"


def _refuse(value: object) -> str:
    raise TypeError(type(value).__name__)


# More than any model writes at once.
_ANSWER_TOKENS_MAX = 1_000_000
_OUTPUT_LIMITS = ("max_completion_tokens", "max_output_tokens", "max_tokens")


def max_output_tokens(llm: object) -> int | None:
    """The longest answer that may come: parameters handed past CrewAI to the provider may raise it, or ask for several."""
    past = getattr(llm, "additional_params", None)
    handed = past if isinstance(past, Mapping) else {}
    body = handed.get("extra_body")
    places = (_stated(llm), handed, body if isinstance(body, Mapping) else {})
    limits = [number for place in places for name in _OUTPUT_LIMITS if (number := _positive(place.get(name))) is not None]
    answers = [number for place in places if (number := _positive(place.get("n"))) is not None]
    if any(name in place and place[name] is None for place in places[1:] for name in _OUTPUT_LIMITS):
        limits = []  # None takes the limit away.
    if not limits and answers and max(answers) > 1:
        limits = [_ANSWER_TOKENS_MAX]  # Of one answer without a limit the gateway knows the model's own.
    return max(limits) * max([1, *answers]) if limits else None


def _stated(llm: object) -> Mapping[str, object]:
    return {name: getattr(llm, name, None) for name in (*_OUTPUT_LIMITS, "n")}


def _positive(value: object) -> int | None:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf") else None


def role_of(agent: Any) -> str | None:
    role = getattr(agent, "role", None)
    return role if isinstance(role, str) else None


def id_of(thing: Any) -> str | None:
    return None if thing is None else str(getattr(thing, "id", id(thing)))


def agent_of(owner: Any) -> str | None:
    """A crew of one agent is that agent, as an agent by itself is; of several, it goes by its own name."""
    role = role_of(owner) or role_of(getattr(owner, "agent", None))
    if role is not None:
        return role
    agents = getattr(owner, "agents", None)
    if isinstance(agents, list) and len(agents) == 1:
        return role_of(agents[0])
    name = getattr(owner, "name", None)
    return name if isinstance(name, str) else None


def is_crewais(llm: Any) -> bool:
    """Is it called by code of CrewAI's, which tells that a call begins? A model of the user's own may tell nothing."""
    return all(str(getattr(getattr(llm, name, None), "__module__", "")).startswith("crewai.") for name in ("call", "acall"))


def cached_as(context: Any) -> str | None:
    """The key under which the crew's cache holds the answer to this tool call; None when it holds none."""
    cache = getattr(getattr(context.agent, "tools_handler", None), "cache", None)
    key = cache_key(context.tool_input)
    if cache is None or key is None or cache.read(tool=context.tool_name, input=key) is None:
        return None
    return key


def cache_key(tool_input: Any) -> str | None:
    try:
        return json.dumps(tool_input) if tool_input else ""
    except (TypeError, ValueError, RecursionError):
        return None  # CrewAI makes its key the same way, so nothing of this input can be in there.
