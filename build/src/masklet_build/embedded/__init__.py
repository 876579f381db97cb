"""The python model that runs an ONNX engine inside Triton's python backend. Assembly copies `model.py`; nothing imports it from here."""
