"""Why a tracked object got its mask: what the frame attended to, the candidate masks, and the object over time, from a recording."""
