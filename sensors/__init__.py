"""What wakes the loop: finished collections, new labels, new checkpoints."""
