"""Real servers for the tests of `common`."""

