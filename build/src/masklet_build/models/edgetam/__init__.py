"""What EdgeTAM has of its own, in PyTorch: the trunk of the image encoder and what makes memories small. The rest is `masklet_build.models.sam`.

Lines of official code that are cited here are EdgeTAM's (`masklet.families.edgetam`).
"""
