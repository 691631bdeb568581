"""Executors: where the tasks of a plan are computed. Each is a module with a class that fulfils `model.Executor`."""
