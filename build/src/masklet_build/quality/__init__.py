"""How good tracked masks are: J, F and J&F of DAVIS, streamed through a real server. The command is `masklet-build evaluate`."""
