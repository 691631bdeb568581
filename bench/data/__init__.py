"""Data sets, their samples and their images."""
