"""What deploy/ec2/setup does to a machine, step by step. Standard library alone: nothing is installed yet."""
