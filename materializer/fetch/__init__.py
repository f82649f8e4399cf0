"""One output -> a complete, verified part file.

`guard` decides what may be asked, `download` does the asking. `httpx` and `h11` are
loaded with the first download.
"""

from materializer.fetch.download import Fetched, Fetcher, Order, Rules, write
from materializer.fetch.guard import Guard
from materializer.fetch.partial import Read

__all__ = ["Fetched", "Fetcher", "Guard", "Order", "Read", "Rules", "write"]
