"""The same work on many machines, by Ray; it is imported nowhere else."""
