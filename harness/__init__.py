"""From a wish (grid.yaml) to rows: everything between the user's YAML and the stored pixel counts."""
