"""Part file -> its final name, durably, in one directory and nowhere else.

`Places` is the outputs directory; `disk_trouble` puts what a file system says into
words for a person.
"""

from materializer.place.files import Stamp
from materializer.place.places import Places
from materializer.place.trouble import disk_trouble

__all__ = ["Places", "Stamp", "disk_trouble"]
