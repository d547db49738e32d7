"""The wing of the operations, and of the ways to wait for them."""
