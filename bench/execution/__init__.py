"""Planning, running and storing the cells of a comparison."""
