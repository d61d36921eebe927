"""The viewer: readings, evaluation runs and training runs as a local page."""
