"""The page on which people say which of two clips is better."""
