"""The built-in methods, one file each; imported as `agiqa_bench.methods`."""

if __name__ == "methods":
    raise ImportError("'methods' is a folder of the agiqa-bench repository: type 'import agiqa_bench.methods' instead")
