"""What a suggestion of the server says of somebody who may be worth meeting."""

from __future__ import annotations

from typing import Any

MAX_OPENER_CHARACTERS = 500


def opener_for(suggestion: dict[str, Any]) -> str:
    # Says no more than what both sides have made public by checking in with these tags.
    tags = suggestion.get("sharedTags")
    shared = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    if not shared:
        return "Our goals for this event seem to fit. Would a quick hello suit you?"
    return f"We are both here for {', '.join(shared)}. Would a quick hello suit you?"[:MAX_OPENER_CHARACTERS]


def agent_id_of(suggestion: dict[str, Any]) -> str | None:
    agent = suggestion.get("toAgent")
    agent_id = agent.get("agentId") if isinstance(agent, dict) else None
    return agent_id if isinstance(agent_id, str) else None


def score_of(suggestion: dict[str, Any]) -> float:
    score = suggestion.get("score")
    return score if isinstance(score, (int, float)) else 0
