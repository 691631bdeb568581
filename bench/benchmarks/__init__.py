"""How fast the harness and its methods are: what `agiqa-bench benchmark` measures, one module per part."""
