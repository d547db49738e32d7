"""The subpackage that all others use: errors, objects, locks, and checks of arguments."""
