"""The run broker: the only process with the Docker Engine's socket.

It starts, inspects and stops runs of its own Compose project on behalf of the daemon and the webserver.
Every request is parsed into a few checked values and a new request is written from them; nothing is passed through.
"""
