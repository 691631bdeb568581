"""Figures by matplotlib: each function takes plain numbers and returns a drawing."""
