"""Runpurse for CrewAI: cost, cap, policy and trace per run."""

from .attach import Runpurse
from .client import FailurePolicy, Problem
from .decision import GatewayUnavailable, Refusal, Refused, refusal_of
from .interceptor import RunpurseInterceptor
from .run import Run

__all__ = [
    "FailurePolicy",
    "GatewayUnavailable",
    "Problem",
    "Refusal",
    "Refused",
    "Run",
    "Runpurse",
    "RunpurseInterceptor",
    "refusal_of",
]
