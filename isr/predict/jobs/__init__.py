"""Jobs: one file each to make, planned before any work, resumed where they stopped."""
