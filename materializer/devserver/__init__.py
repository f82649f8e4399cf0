"""The embedded backend: everything that Stella's servers do, on loopback."""
