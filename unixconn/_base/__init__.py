"""What all the others stand on: errors, objects, locks, argument checks."""
