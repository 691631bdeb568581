"""`python -m agiqa_bench`."""

from agiqa_bench.cli import main

main()
