"""How requests reach a server, and answers come back: streams over gRPC, or whatever keeps to `protocol`."""
