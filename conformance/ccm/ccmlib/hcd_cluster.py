"""Another product of which suites know; imported, and not here."""

from ccmlib.gaps import not_here


class HcdCluster:
    def __init__(self, *_, **__):
        not_here("a Hcd cluster")
