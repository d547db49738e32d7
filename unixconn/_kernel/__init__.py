"""All that knows the C library and the kernel."""
