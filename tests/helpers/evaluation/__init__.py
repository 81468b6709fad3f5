"""Evaluators called on features and outputs made up for tests."""
