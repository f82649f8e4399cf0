"""Small previews of pictures: made apart, and made again when lost.

`maker` is the process that opens what came from outside, `process` is how the daemon
uses it, `shelf` the directory, and `keeper` sees to it that every picture has one.
Nothing is imported here, since the maker starts by importing this.
"""
