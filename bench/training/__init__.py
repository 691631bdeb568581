"""The one training loop of every trained method: optimisers, precision, memory, selection, continuation, views."""
