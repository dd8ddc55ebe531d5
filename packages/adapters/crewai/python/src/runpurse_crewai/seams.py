"""Methods of CrewAI's that it tells no hook of: each is wrapped while anybody is attached, and put back after."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

from crewai import LLM, Agent, BaseLLM, Crew
from crewai.events import crewai_event_bus

#: What goes around a call of the method; it is given what the method is given, and may yield arguments to be given instead.
Around = Callable[..., AbstractContextManager[Mapping[str, object] | None]]


class Seam:
    def __init__(self, owner: type, name: str) -> None:
        self._owner = owner
        self._name = name
        self._original: Any = None
        self._wrapper: Any = None
        self._arounds: list[Around] = []
        self._lock = threading.Lock()
        self._is_around: ContextVar[bool] = ContextVar(f"runpurse_around_{name}", default=False)

    def enter(self, around: Around) -> None:
        with self._lock:
            present = getattr(self._owner, self._name)
            # Somebody else may have wrapped it or taken ours away since.
            if not self._arounds and present is not self._wrapper:
                self._original = present
                self._wrapper = self._wrapped(present)
                setattr(self._owner, self._name, self._wrapper)
            self._arounds.append(around)

    def leave(self, around: Around) -> None:
        with self._lock:
            if around in self._arounds:  # Else it has left before.
                self._arounds.remove(around)
            # Where somebody else has wrapped it since, ours stays below theirs, with nothing around until one enters again.
            if not self._arounds and getattr(self._owner, self._name) is self._wrapper:
                setattr(self._owner, self._name, self._original)
                self._wrapper = None

    def _wrapped(self, original: Any) -> Any:
        if inspect.iscoroutinefunction(original):

            @functools.wraps(original)
            async def call_async(*args: Any, **named: Any) -> Any:
                with self._around(call_async, args, named) as changes:
                    args, named = _changed(original, args, named, changes)
                    return await original(*args, **named)

            return call_async

        @functools.wraps(original)
        def call(*args: Any, **named: Any) -> Any:
            with self._around(call, args, named) as changes:
                args, named = _changed(original, args, named, changes)
                return original(*args, **named)

        return call

    @contextmanager
    def _around(self, wrapper: object, args: tuple[Any, ...], named: Mapping[str, Any]) -> Iterator[Mapping[str, object]]:
        # An earlier wrapper of ours may still be below somebody else's, and the latest above: one of them is enough.
        outer = self._is_around.get()
        is_below = outer and wrapper is not self._wrapper
        self._is_around.set(not is_below)
        changes: dict[str, object] = {}
        try:
            with ExitStack() as stack:
                for around in [] if is_below else list(self._arounds):
                    changed = stack.enter_context(around(*args, **named))
                    changes.update(changed or {})
                yield changes
        finally:
            self._is_around.set(outer)


def _changed(
    original: Any, args: tuple[Any, ...], named: dict[str, Any], changes: Mapping[str, object]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if not changes:
        return args, named
    bound = inspect.signature(original).bind(*args, **named)
    bound.arguments.update(changes)
    return bound.args, bound.kwargs


#: Listeners are told in threads of their own; this is before, and in the thread that tells.
EMIT = Seam(type(crewai_event_bus), "emit")
#: `LLM.call` runs one of its `available_functions`.
FUNCTION = Seam(BaseLLM, "_handle_tool_execution")
LITELLM_FUNCTION = Seam(LLM, "_handle_tool_call")
#: LiteLLM's LLM tells no end of a call whose answer asks for tools, and takes no interceptor.
LITELLM_CALLS = (Seam(LLM, "call"), Seam(LLM, "acall"))
LITELLM_REQUESTS = tuple(
    Seam(LLM, name)
    for name in (
        "_handle_non_streaming_response",
        "_ahandle_non_streaming_response",
        "_handle_streaming_response",
        "_ahandle_streaming_response",
    )
)
#: A provider said what a model call used; the end of a call that ran a function is told without.
USAGE = Seam(BaseLLM, "_track_token_usage_internal")
#: The hooks of an agent's kickoff are those of its first try: what comes after it is told of by nobody.
AGENT_KICKOFF = Seam(Agent, "kickoff")
AGENT_KICKOFF_ASYNC = Seam(Agent, "kickoff_async")
CREW_REPLAY = Seam(Crew, "replay")
