"""Personal data and secrets kept out of logs.

`patterns` finds them in text, `stream` in what a process prints, `supervisor` puts the stream around a container's
command, `client` is how that command asks for a compute log or names values. Nothing is imported here: the start of a
container waits for this package.
"""
