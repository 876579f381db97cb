"""SAM 2's own part: its image encoder. Lines that are cited here are SAM 2's (`masklet.families.SAM2.official`)."""
