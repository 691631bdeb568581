"""Builders: from stored results to the tables, figures and chapters of a report. Statistics are computed here."""
