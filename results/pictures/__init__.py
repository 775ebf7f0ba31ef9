"""Kept label maps become pictures: colours, galleries and sheets."""
