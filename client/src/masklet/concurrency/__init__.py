"""How the client waits, in two ways: a thread is blocked, or the other tasks of an event loop go on.

All that waits is written once, as coroutines over a `Concurrency`. Over `EventLoop` they are awaited. Over `Threads` nothing in them ever gives way,
so `finish` runs one to its end in the calling thread, as if it were a function.
"""
