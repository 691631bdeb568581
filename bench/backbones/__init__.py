"""Pretrained networks shared by methods."""
