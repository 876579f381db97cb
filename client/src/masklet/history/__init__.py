"""Time travel: a video that keeps its newest seconds, so that prompts can be given for a frame that is over.

What was asked is in a *log*, with snapshots. A *rewind* says what a frame should have had. A *catch-up* replays the log with it on a *branch*,
another video on the server, which then becomes the *head*, where the video goes on. A rewind, or what takes it back, is a *journey*.
"""
