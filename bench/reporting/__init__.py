"""Tables and their renderings."""
