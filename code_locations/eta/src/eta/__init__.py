"""Code location `eta`: arrival delays, predicted from what is known at departure."""
