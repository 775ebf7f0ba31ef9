"""Segmentation methods and the backbones they read; of this repository they import only `harness.contracts`."""
