"""Stella Materializer: finished AI media, simply there."""

__version__ = "0.1.0"
