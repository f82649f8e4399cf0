"""What is on this disk, what was tried and what was said.

`Gallery` owns the database; `ledger`, `items` and `outbox` are the transactions that
can be run on it, each a function: `await gallery.write(ledger.settle, ...)`.
"""

from materializer.gallery.database import Gallery

__all__ = ["Gallery"]
