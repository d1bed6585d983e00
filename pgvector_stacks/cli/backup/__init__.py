"""`pgstack backup …`."""
