"""Losses and loops: weighted supervised fine-tuning, plain language modelling, merging and tracking."""
