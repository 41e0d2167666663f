"""What people say and do: invitations, participants, sessions, plays, and the append-only log of labels."""
