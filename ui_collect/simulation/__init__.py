"""The processes that play: simulation workers, what keeps their records, and the pool that looks after them."""
