"""The subpackage of the operations, and of the ways to wait for them."""
