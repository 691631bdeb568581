"""Published numbers and reference runs; imported as `agiqa_bench.results`."""

if __name__ == "results":
    raise ImportError("'results' is a folder of the agiqa-bench repository: type 'import agiqa_bench.results' instead")
