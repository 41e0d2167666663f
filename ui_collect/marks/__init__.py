"""The page on which people mark how far the episodes of a data set came."""
