"""Weights: where they come from, and how they are read.

official_files.py   the official files: addresses and hashes
download/           fetching them
torch_files.py      files of torch.save, read without running what they say
wrappers.py         where in them the parameters are, and what stands before their names
loading.py          reading them, whoever wrote them: official files, those of `transformers` (hugging_face/), masklet's own
random_weights.py   weights for any variant without a download, for tests
listing.py          the command that lists what there is
"""
