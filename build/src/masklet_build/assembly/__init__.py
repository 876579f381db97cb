"""The parts of `masklet_build.assemble`: configs, and what depends on the target."""
