"""The published tables: their figures, their layout, and what of a run can stand beside them."""
