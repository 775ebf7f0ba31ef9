"""Rows become numbers: integer sums, scores, what each image does to them, and what chance alone could do.

Pixel counts are divided in this room alone; those of scores stand in `estimators`.
"""
