"""From weights to files that a runtime takes: ONNX graphs or PyTorch programs, each checked beside the network.

onnx_export.py      the five stages as ONNX; onnx_files.py is about such files
programs.py         the same as `torch.export` programs
profiles.py         which shapes a server calls an engine with
precision/          fp16 and bf16: which modules compute in what
lint/               what NVIDIA's compiler would not take
fixtures/           what the float32 network answers, kept beside the export for `masklet-build selftest`
"""
