"""Synthetic pictures from seeds: scenes, damages and simulated observers, the same bytes on every machine.

Pixels come from integer arithmetic and from single float64 operations that IEEE 754 rounds exactly (`+ - * /`, square
root, comparison, floor). Nothing here calls a library function whose result may differ between versions or processors:
no sine or power, no floating-point sum over an array, no library's random stream, no library's drawing.
"""
