"""Imports a module and prints, as its last line, the versions of some distributions as JSON.

python probe.py MODULE [DISTRIBUTION ...]
"""

import importlib
import json
import sys
from importlib import metadata


def main(module, distributions):
    """Import `module`, then print the version of each distribution that is installed."""
    importlib.import_module(module)
    versions = {}
    for name in distributions:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    sys.stdout.write("\n" + json.dumps(versions) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
