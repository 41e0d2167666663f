"""Two arms at a table with a lidded bowl: the simulated stand-in for a station's robot."""
