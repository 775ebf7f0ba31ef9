"""A results folder flows into a bucket while it is written, and flows back where its disk is gone."""
