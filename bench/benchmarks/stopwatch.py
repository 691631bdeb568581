"""A small process that runs a command and tells what it took, as JSON: `python stopwatch.py COMMAND...`.

Linux counts what the starting process held in memory as the peak of the one that it starts, so that peaks measured from
a large process say nothing. This file imports nothing but the standard library, and little of that.
"""

import json
import os
import subprocess
import sys
import time


def main() -> None:
    """Run the command; its standard error stream is passed on, and so is how it ended, as part of the answer."""
    started = time.perf_counter()
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    # Only wait4 tells the memory of this child alone.
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took = {
        "seconds": time.perf_counter() - started,
        "processor": usage.ru_utime + usage.ru_stime,
        "mebibytes": usage.ru_maxrss / 1024,
        "status": process.returncode,
    }
    sys.stdout.write(json.dumps(took))


if __name__ == "__main__":
    main()
