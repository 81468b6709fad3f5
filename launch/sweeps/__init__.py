"""Many runs of one experiment: which, in which order, and what came of them."""
