"""Operations, and the ways to wait for them."""
