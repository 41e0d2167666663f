"""The world `reach`: a seven-joint arm brings its hand to a point."""
