"""The gateway: OpenAI's endpoints, over a model whose window is too short for what is sent.

A request that fits the upstream's window is passed through. A longer one is read with a memory,
and the request is answered with the memory in the place of what was read.
"""

CLIENTS_OWN = "gateway"
"""Stands in a reading for the wording of a turn that was the client's own request."""
