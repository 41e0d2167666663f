"""Where policies act. Every world is deterministic in (episode, seed)."""
