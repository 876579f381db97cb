"""The Triton model repository: engines, configs and python models put together for a target.

assemble.py    one variant; combine.py several of them side by side
configs.py     config.pbtxt of any model; tensorrt.py what only plans need
kinds.py       what a folder of engines holds, and who runs that
runtimes.py    what runs engines inside the python backend, and the files it needs there
image.py       repositories that need NVIDIA's image
"""
