"""The proposed methods by their published procedures, written plainly and without anything done for speed.

Nobody runs them for results: the benchmark measures the methods by them, and the tests check the methods by them.
"""
