"""What work needs: Dagster resources for the store, the teacher, the tracker, the registry and the launcher."""
