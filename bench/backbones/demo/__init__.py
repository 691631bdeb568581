"""Two tiny CLIPs, trained by this package on pictures that it renders, so that CLIP methods run offline on any machine.

They know fourteen objects, eight colours, numbers up to four, eight places, six styles and six kinds of damage, and
nothing else: they stand in for a real CLIP while trying things out, never in results. See MODEL_CARD.md.
"""
