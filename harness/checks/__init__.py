"""The gates that every method and benchmark passes, ours and a stranger's alike: `python -m harness.checks`."""
