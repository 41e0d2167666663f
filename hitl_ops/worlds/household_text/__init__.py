"""The household as a text game: one agent, ALFWorld's six families, words and commands; no extra is needed."""
