"""The nouns everything else speaks: Episode, Decision, Sample, PolicyCard, ids and the store's layout."""
