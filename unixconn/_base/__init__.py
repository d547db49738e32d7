"""The wing that the others stand on: errors, objects, locks, and checks of arguments."""
