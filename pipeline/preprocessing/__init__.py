"""Source files to a data set: parsing in parallel, resuming, writing shards."""
