"""Reading photographs by the million: a manifest in, a table of findings out, on one machine or on many."""
