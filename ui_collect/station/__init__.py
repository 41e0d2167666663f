"""The server's half of robot stations: their episodes come in here."""
