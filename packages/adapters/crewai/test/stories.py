"""The crews that the tests play, built as a user of CrewAI builds them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from crewai import LLM, Agent, Crew, Task
from crewai.tools import BaseTool
from pydantic import BaseModel, create_model
from runpurse_crewai import GatewayUnavailable, Run, Runpurse, refusal_of

RunTool = Callable[[str, dict[str, Any]], str]

_running: dict[str, asyncio.Task[Any]] = {}


async def nothing(_args: dict[str, Any], _tool: RunTool) -> None:
    """Answers once everything is loaded."""


def cancel(_request: str, args: dict[str, Any]) -> None:
    task = _running.get(args["run_id"])
    if task is not None:
        task.cancel()


class ScriptedTool(BaseTool):
    name: str
    description: str
    args_schema: type[BaseModel]
    work: Callable[[dict[str, Any]], str]

    def _run(self, **args: Any) -> str:
        return self.work(args)


def agent_of(scripted: dict[str, Any], env: dict[str, Any], runpurse: Runpurse, run_tool: RunTool) -> Agent:
    llm = LLM(
        model=f"openai/{scripted['model']}",
        base_url=env["model"]["baseUrl"],
        api_key=env["model"]["apiKey"],
        max_tokens=scripted["max_tokens"],
        max_retries=scripted["max_retries"],
        interceptor=runpurse.interceptor,
    )

    def tool_of(tool: dict[str, Any]) -> ScriptedTool:
        def work(args: dict[str, Any]) -> str:
            result = run_tool(tool["name"], args)
            behind = tool.get("agent")
            return result if behind is None else agent_of(behind, env, runpurse, run_tool).kickoff(args["task"]).raw

        fields: dict[str, Any] = {name: (str, ...) for name in tool["parameters"]}
        return ScriptedTool(name=tool["name"], description=tool["description"], args_schema=create_model("Args", **fields), work=work)

    return Agent(
        role=scripted["name"],
        goal=scripted["instructions"],
        backstory="You work at a shop.",
        llm=llm,
        tools=[tool_of(tool) for tool in scripted["tools"]],
        max_retry_limit=0,
        respect_context_window=False,
        verbose=False,
    )


async def play(args: dict[str, Any], run_tool: RunTool) -> dict[str, Any]:
    """One scenario of the conformance suite."""
    scenario, env = args["scenario"], args["env"]
    runpurse = Runpurse(env["gatewayUrl"], env["apiKey"], failure_policy=env["failurePolicy"])

    def crew_of() -> Crew:
        agent = agent_of(scenario["agent"], env, runpurse, run_tool)
        task = Task(description=scenario["task"]["input"], expected_output="An answer.", agent=agent)
        return Crew(agents=[agent], tasks=[task], stream=scenario["task"]["stream"], verbose=False)

    def run() -> AbstractContextManager[Run]:
        return runpurse.run(
            run_id=env["runId"],
            session_id=env["sessionId"],
            workflow_id=env.get("workflowId"),
            customer_id=env.get("customerId"),
            agent_id=scenario["agent"]["name"],
        )

    def ask() -> str:
        try:
            with run():
                return str(crew_of().kickoff().raw)
        except SystemExit as error:
            # So CrewAI ends when a prompt is too long and its agent may not shorten it.
            raise RuntimeError(f"SystemExit: {error}") from error

    async def ask_streamed() -> str:
        with run():
            output = await crew_of().akickoff()
            async for _chunk in output:
                pass
            return str(output.result.raw)

    running = asyncio.create_task(ask_streamed() if scenario["task"]["stream"] else asyncio.to_thread(ask))
    _running[env["runId"]] = running
    try:
        outcome: dict[str, Any] = {"type": "completed", "output": await running}
    except asyncio.CancelledError:
        outcome = {"type": "cancelled"}
    except Exception as error:
        outcome = outcome_of(error)
    await asyncio.to_thread(runpurse.close)
    return outcome


def outcome_of(error: Exception) -> dict[str, Any]:
    refusal = refusal_of(error)
    if refusal is not None:
        return {"type": "refused", "code": refusal.code}
    if isinstance(error, GatewayUnavailable):
        return {"type": "unavailable"}
    return {"type": "failed", "message": str(error)}
