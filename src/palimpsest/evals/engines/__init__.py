"""Where the items of a run are read: in this process, or spread over a Ray cluster."""

from palimpsest.evals.engines.engine import Engine
from palimpsest.evals.engines.local import LocalEngine
from palimpsest.evals.engines.ray_cluster import RayEngine

__all__ = ["Engine", "LocalEngine", "RayEngine"]
