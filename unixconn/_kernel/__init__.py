"""The wing that calls the C library and knows the kernel."""
