"""One output -> a complete, verified part file.

`guard` decides what may be asked, `download` does the asking. `httpx` is imported
lazily, in `download` alone.
"""

from materializer.fetch.download import Fetched, Fetcher, write
from materializer.fetch.guard import Guard

__all__ = ["Fetched", "Fetcher", "Guard", "write"]
