"""The real ALFWorld engine (extra ``alfworld``) on official or generated games."""

from __future__ import annotations

from hitl_ops.worlds.alfworld.config import AlfworldConfig
from hitl_ops.worlds.alfworld.world import AlfworldWorld, make_alfworld

__all__ = ["AlfworldConfig", "AlfworldWorld", "make_alfworld"]
