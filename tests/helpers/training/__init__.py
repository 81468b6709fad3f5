"""Small runs, and tasks, sources and evaluators made for tests."""
