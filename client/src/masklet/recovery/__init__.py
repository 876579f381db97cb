"""Videos that outlive their server: `Tracker.open(resilient=True)`.

The client keeps the newest snapshot of the video and the requests after it. When the server is lost, silent or draining, the video is restored
from that snapshot on another one, and the requests after it are sent again. What the caller has been told already is not told again.

`session` decides all of it without input or output; `connection` does what it says.
"""
