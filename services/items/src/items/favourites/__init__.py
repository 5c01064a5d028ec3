"""The items that people keep, to find them again."""
