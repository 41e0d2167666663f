"""The page on which people look at games of the dagger program, step by step."""
