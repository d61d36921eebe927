"""The server: an OpenAI-compatible gateway, the renderer service and the viewer."""
