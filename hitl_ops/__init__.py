"""How policies, records and labels are made: plain Python, never Dagster and never a web server.

The rooms follow the data once round the loop; a room imports only the rooms above it:
contracts, worlds, records, labels, experts, models, rollouts, samples, training, evaluation, serving.
"""
