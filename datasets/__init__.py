"""The built-in data sets, one file each; imported as `agiqa_bench.datasets`.

With the repository root on `sys.path` (a REPL there, `python -c`, `python -m pytest`) the bare name `datasets`
finds this folder and hides Hugging Face's package of that name, which pyiqa needs. Imported under the bare name,
this module hands over to Hugging Face's package, or says in one line why it cannot.
"""

if __name__ == "datasets":
    import importlib.machinery
    import importlib.util
    import sys
    from pathlib import Path

    _root = Path(__file__).resolve().parent.parent
    _elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() != _root]
    _spec = importlib.machinery.PathFinder.find_spec("datasets", _elsewhere)
    if _spec is None or _spec.loader is None:
        raise ImportError(
            f"'datasets' here is the folder {_root / 'datasets'} of agiqa-bench, and Hugging Face's package is not "
            "installed: type 'import agiqa_bench.datasets' for ours, or 'pip install datasets' for theirs"
        )
    _theirs = importlib.util.module_from_spec(_spec)
    # The import system returns whatever stands in sys.modules once this file has run.
    sys.modules["datasets"] = _theirs
    _spec.loader.exec_module(_theirs)
