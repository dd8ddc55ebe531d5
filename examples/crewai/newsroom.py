"""A newsroom: a researcher who searches the archive, and a writer who would like to publish."""

from __future__ import annotations

import json
import os
import urllib.request
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool
from runpurse_crewai import Runpurse, refusal_of

URL, KEY = os.environ["RUNPURSE_URL"], os.environ["RUNPURSE_KEY"]

runpurse = Runpurse(URL, KEY, context={"workflow_id": "newsroom"})


def model(name: str) -> LLM:
    return LLM(model=f"openai/{name}", base_url=f"{URL}/v1", api_key=KEY, max_tokens=200)


@tool("search_archive")
def search_archive(words: str) -> str:
    """Searches the archive."""
    return f"3 articles about {words}"


@tool("publish")
def publish(text: str) -> str:
    """Publishes a text."""
    raise AssertionError("the policy denies this, so it never runs")


researcher = Agent(
    role="researcher", goal="Find facts.", backstory="You know the archive.", llm=model("research-model"), tools=[search_archive]
)
writer = Agent(role="writer", goal="Write and publish.", backstory="You write.", llm=model("writing-model"), tools=[publish])


def tell(story: str, run_id: str) -> None:
    print(f"story: {story}")
    tasks = [
        Task(description=f"Research {story}.", expected_output="Facts.", agent=researcher),
        Task(description="Write it up and publish it.", expected_output="An article.", agent=writer),
    ]
    try:
        # CrewAI prints notes of its own on the way; here only the desk speaks.
        with runpurse.run(run_id=run_id, session_id="monday"), redirect_stdout(StringIO()):
            output = Crew(agents=[researcher, writer], tasks=tasks).kickoff()
        print(f"desk:  {output.raw}")
    except Exception as error:
        refusal = refusal_of(error)
        if refusal is None:
            raise
        print(f"desk:  ({refusal.code}: {refusal.message})")
    for line in trace(run_id):
        print(line)


def trace(run_id: str) -> list[str]:
    """The run as the gateway accounts for it."""
    request = urllib.request.Request(f"{URL}/v1/runs/{run_id}", headers={"authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request) as response:
        run: dict[str, Any] = json.load(response)
    steps = [f"  {step['agent_id']:<10} {step['name']}: {step['status']}, ${step['cost_usd']}" for step in run["steps"]]
    return [*steps, f"  {run_id} {run['status']}: ${run['cost']['total_usd']}", ""]


tell("the bridge", "run_1")
tell("everything", "run_2")
