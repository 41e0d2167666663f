"""Policies behind a socket: which one serves, and the process that answers for it."""
