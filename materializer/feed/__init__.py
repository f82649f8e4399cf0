"""The feed: a socket round the Convex session; yields snapshots."""

from materializer.feed.feed import Feed, FeedStatus, TokenSource

__all__ = ["Feed", "FeedStatus", "TokenSource"]
