"""Who may call, of which team: loaded by LiteLLM's proxy, in its own environment, as ``custom_auth``."""

from __future__ import annotations

from fastapi import HTTPException, Request
from litellm.proxy._types import UserAPIKeyAuth

TEAMS = {"sk-team-a": "team-a", "sk-team-b": "team-b"}


async def authenticate(request: Request, api_key: str) -> UserAPIKeyAuth:
    """The key's team, as a key has one that LiteLLM keeps in its database."""
    team = TEAMS.get(api_key)
    if team is None:
        raise HTTPException(status_code=401, detail="no such key")
    return UserAPIKeyAuth(api_key=api_key, key_alias=f"key of {team}", team_id=team, team_alias=team.title(), org_id="org-1")
