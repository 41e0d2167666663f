"""A page that shows what the robots at a policy server see and are told: cameras, joints, chunks, latency."""
