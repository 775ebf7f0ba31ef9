"""What lies in a results folder: rows, recipes, events, artefacts, pictures; written whole, proved by digests."""
