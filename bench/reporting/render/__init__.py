"""Renderers: a report for the terminal, as Markdown, LaTeX and CSV. They lay out and compute nothing."""
