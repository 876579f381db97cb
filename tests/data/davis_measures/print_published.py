"""Prints what the published program makes of the cases in cases.npz, as JSON. Needs what that program needs: opencv, scikit-image, scipy, tqdm.

git clone https://github.com/davisvideochallenge/davis2017-evaluation    # commit ac7c43f was used
PYTHONPATH=davis2017-evaluation python print_published.py cases.npz > published.json
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from davis2017.evaluation import DAVISEvaluation
from davis2017.metrics import db_eval_boundary, db_eval_iou
from PIL import Image


def measures(arrays):
    """J and F of every pair of masks."""
    names = sorted(name.removesuffix("_mask") for name in arrays if name.endswith("_mask"))
    found = {}
    for name in names:
        truth, mask = arrays[f"{name}_truth"], arrays[f"{name}_mask"]
        found[name] = {"J": float(db_eval_iou(truth, mask)), "F": float(db_eval_boundary(truth, mask))}
    return found


def semi_supervised(arrays):
    """J and F of every object of the videos, and their means, from folders as the program reads them."""
    names = sorted(name.removesuffix("_result") for name in arrays if name.endswith("_result"))
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for name in names:
            for index, (truth, result) in enumerate(zip(arrays[f"{name}_truth"], arrays[f"{name}_result"], strict=True)):
                save(truth, root / "davis" / "Annotations" / "480p" / name / f"{index:05}.png")
                save(result, root / "results" / name / f"{index:05}.png")
                save(truth, root / "davis" / "JPEGImages" / "480p" / name / f"{index:05}.jpg")  # only counted
        lists = root / "davis" / "ImageSets" / "2017"
        lists.mkdir(parents=True)
        (lists / "val.txt").write_text("\n".join(names) + "\n")
        found = DAVISEvaluation(str(root / "davis"), "semi-supervised", "val").evaluate(str(root / "results"))
    means = {measure: float(np.mean(found[measure]["M"])) for measure in "JF"}
    return {"mean": means, "objects": {measure: {name: float(value) for name, value in found[measure]["M_per_object"].items()} for measure in "JF"}}


def save(labels, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(path)


if __name__ == "__main__":
    with np.load(sys.argv[1]) as arrays:
        print(json.dumps({"measures": measures(arrays), "semi_supervised": semi_supervised(arrays)}, indent=0))
