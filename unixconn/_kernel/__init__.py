"""The subpackage that calls the C library: system calls, control messages, descriptors, credentials."""
