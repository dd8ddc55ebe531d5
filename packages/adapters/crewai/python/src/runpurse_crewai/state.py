"""Where in a run the code stands: CrewAI copies these into every thread and task it starts, and into its event handlers."""

from __future__ import annotations

from contextvars import ContextVar

from crewai.execution import get_execution_uuid

from .call import ModelCall, ToolCall
from .run import Run

#: The run that code belongs to.
RUN: ContextVar[Run | None] = ContextVar("runpurse_run", default=None)
#: The model call whose client is at work.
MODEL: ContextVar[ModelCall | None] = ContextVar("runpurse_model", default=None)
#: The tool that code runs inside of.
TOOL: ContextVar[ToolCall | None] = ContextVar("runpurse_tool", default=None)
#: The tool that ran last: CrewAI tells its end after it has left it.
LAST_TOOL: ContextVar[ToolCall | None] = ContextVar("runpurse_last_tool", default=None)


def current_run() -> Run | None:
    """
    The run that code stands in. CrewAI tells no hook of a kickoff that Ctrl-C or a timeout ended: its run is stopped by what comes
    after it in the same thread or task, which is no part of it.
    """
    run = RUN.get()
    while run is not None and run.execution is not None and run.execution != get_execution_uuid():
        run.end("stopped", reason="its kickoff was interrupted")
        run = run.outer
        RUN.set(run)
    return run
