"""What exists: Dagster assets and checks, one file per program, each a thin layer over ``hitl_ops``."""
