"""reconcile: make this machine equal to a commit of the deployment repository."""
