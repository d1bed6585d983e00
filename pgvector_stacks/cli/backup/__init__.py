"""The commands `pgstack backup …`."""
