"""What the end-to-end tests share: a deployment of their own and ways to ask it."""
