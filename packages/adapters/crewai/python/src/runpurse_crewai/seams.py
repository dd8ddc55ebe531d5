"""Methods of CrewAI's that it tells no hook of: each is wrapped while anybody is attached, and put back after."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from crewai import LLM, Agent, BaseLLM, Crew

#: What goes around a call of the method; it is given what the method is given.
Around = Callable[..., AbstractContextManager[object]]


class Seam:
    def __init__(self, owner: type, name: str) -> None:
        self._owner = owner
        self._name = name
        self._original: Any = None
        self._wrapper: Any = None
        self._arounds: list[Around] = []
        self._lock = threading.Lock()

    def enter(self, around: Around) -> None:
        with self._lock:
            self._arounds.append(around)
            if self._wrapper is None:
                self._original = getattr(self._owner, self._name)
                self._wrapper = self._wrapped(self._original)
                setattr(self._owner, self._name, self._wrapper)

    def leave(self, around: Around) -> None:
        with self._lock:
            if around in self._arounds:  # Else it has left before.
                self._arounds.remove(around)
            # Where somebody else has wrapped it since, ours stays below theirs, with nothing around.
            if not self._arounds and getattr(self._owner, self._name) is self._wrapper:
                setattr(self._owner, self._name, self._original)
                self._wrapper = None

    def _wrapped(self, original: Any) -> Any:
        if inspect.iscoroutinefunction(original):

            @functools.wraps(original)
            async def call_async(*args: Any, **named: Any) -> Any:
                with self._around(*args, **named):
                    return await original(*args, **named)

            return call_async

        @functools.wraps(original)
        def call(*args: Any, **named: Any) -> Any:
            with self._around(*args, **named):
                return original(*args, **named)

        return call

    def _around(self, *args: Any, **named: Any) -> ExitStack:
        with ExitStack() as stack:
            for around in list(self._arounds):
                stack.enter_context(around(*args, **named))
            return stack.pop_all()


#: `LLM.call` runs one of its `available_functions`.
FUNCTION = Seam(BaseLLM, "_handle_tool_execution")
LITELLM_FUNCTION = Seam(LLM, "_handle_tool_call")
#: A provider said what a model call used; the end of a call that ran a function is told without.
USAGE = Seam(BaseLLM, "_track_token_usage_internal")
#: The hooks of an agent's kickoff are those of its first try: what comes after it is told of by nobody.
AGENT_KICKOFF = Seam(Agent, "kickoff")
AGENT_KICKOFF_ASYNC = Seam(Agent, "kickoff_async")
CREW_REPLAY = Seam(Crew, "replay")
