"""The household in Habitat: homes as files that every engine reads, and the other scene under the same tasks."""
