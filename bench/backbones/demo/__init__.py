"""Two tiny CLIPs and an S-CNN, trained by this package on pictures that it renders: methods run offline anywhere.

They know fourteen objects, eight colours, numbers up to four, eight places, six styles and six kinds of damage, and
nothing else: they stand in for the real ones while trying things out, never in results. See the two cards.
"""
