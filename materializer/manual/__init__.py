"""The pages about the media API, for agents and people who drive it."""
