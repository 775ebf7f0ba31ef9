"""What one process does with a shard: images and answers of methods flow in; overlaps, as rows, flow out."""
