"""Convex sync without a socket: values, messages, one conversation.

Everything here is pure: what happens comes in as values, together with the time and
the chance it needs, and what is to be done goes out as values.
"""
