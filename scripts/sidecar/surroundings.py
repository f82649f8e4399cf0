"""Runs first in a frozen program: mends what its start did to the environment.

On Linux it looked for libraries in our folder alone, and so would every program that we
start, such as a browser: they are to have the system's.
"""

import os

before = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
os.environ.pop("LD_LIBRARY_PATH", None)
if before is not None:
    os.environ["LD_LIBRARY_PATH"] = before
