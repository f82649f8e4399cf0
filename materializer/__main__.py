"""`python -m materializer` is `stella-materializer`."""

from materializer.cli import materializer

if __name__ == "__main__":
    materializer()
