"""Where people act: web apps and their pages, to collect, annotate, compare and label.

A page shows and asks; what was said goes into the label store. Simulation, inference and training never run here.
"""
