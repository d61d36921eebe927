"""Pages over HTTP: `POST /render` as the papers' renderer has it, and what ours can do besides."""
