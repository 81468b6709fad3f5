"""Images and sources made up for tests."""
