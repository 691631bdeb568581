"""How fast the harness and its methods are: one module per benchmark, `python -m agiqa_bench.benchmarks.NAME`."""
