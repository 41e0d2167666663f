"""What wakes the loop: finished collections, new labels, new checkpoints.

Nothing wakes iteration 0: a person starts it, with ``flywheel demo``, from the asset graph or from the command line.
"""
