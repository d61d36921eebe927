"""Long-context items: what benchmarks give, what is built around it, and what is generated."""

from palimpsest.datasets.item import Evidence, Item, Passage

__all__ = ["Evidence", "Item", "Passage"]
