"""The story of every order, item and payment, and whether the books balance."""
