"""spanwise beside the usual way, both measured in one run."""
