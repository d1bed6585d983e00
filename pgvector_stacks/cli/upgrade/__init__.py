"""The commands `pgstack upgrade …`, which come before and after an upgrade. The upgrade itself is an `up`."""
