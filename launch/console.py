"""Lines for the person who launched."""

import time


def say(line: str) -> None:
    """Print a line with the time of day, at once."""
    print(f"[{time.strftime('%H:%M:%S')}] launch: {line}", flush=True)
