"""Where in a run the code stands: CrewAI copies these into every thread and task it starts, and into its event handlers."""

from __future__ import annotations

from contextvars import ContextVar

from .run import ModelCall, Run, ToolCall

#: The run that code belongs to.
RUN: ContextVar[Run | None] = ContextVar("runpurse_run", default=None)
#: The model call whose client is at work.
MODEL: ContextVar[ModelCall | None] = ContextVar("runpurse_model", default=None)
#: The tool that code runs inside of.
TOOL: ContextVar[ToolCall | None] = ContextVar("runpurse_tool", default=None)
#: The tool that ran last: CrewAI tells its end after it has left it.
LAST_TOOL: ContextVar[ToolCall | None] = ContextVar("runpurse_last_tool", default=None)
