"""Takes the place of `ccm`, the cluster manager of Cassandra's test suites: the same names, over Holon nodes.

Only what those suites call is here. What would need a JVM, JMX, byteman, Cassandra's files or lines of its log skips the
test with "not here: …" (`gaps.py`); nothing passes without having been done.
"""

import pathlib
import sys

# How nodes are started and asked is written there, once. Last, so that no module of a suite is hidden.
_CONFORMANCE = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.extend(str(folder) for folder in (_CONFORMANCE, _CONFORMANCE / "node") if str(folder) not in sys.path)
