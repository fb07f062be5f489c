"""Reading, following, merging and recovering traces."""
