"""The Display sidebar as a loopback page: an ordinary client of the daemon.

    browser ── door (who may ask) ── api, media, assets ── link ── the daemon's socket

`app` joins them. What the page shows comes from the daemon's methods alone; only the
bytes of files are read from the state directory, by the names that the daemon gave.
"""
