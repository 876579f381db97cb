"""The parts that all families of trackers share, in PyTorch: prompt encoder, mask decoder, memory attention, memory encoder.

Lines of official code that are cited here are EfficientTAM's (`masklet.families.EFFICIENTTAM.official`). Its tracker is a fork of SAM 2's, where the
same lines stand two higher in the base class.
"""
