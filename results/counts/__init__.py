"""Rows become numbers: integer sums, scores, what each image does to them, and what chance alone could do."""
