"""The parent of a local session's Python workers.

Spark puts its own archive of PySpark in front of the installed package, and Python compiles what it imports from an archive
anew each time. The installed package is compiled once; this parent takes it, and its workers inherit what it has imported.
"""

import sys

sys.path[:] = [path for path in sys.path if not path.endswith("pyspark.zip")]

from pyspark import daemon  # noqa: E402  # found by the path above

if __name__ == "__main__":
    daemon.manager()
