"""A Triton model that computes nothing: it looks at its inputs, calls the models that it is told to call, and answers with arrays of the right size.

`null_repository` puts it in place of real models. Config parameter `null`, as JSON:

    outputs   name -> shape
    values    name of an output -> the bytes of its values where they are not zeros, base64
    calls     what to call one after the other: [model, {input: [dtype, shape]}, [outputs]]
"""

import base64
import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Config in, prepared answers out."""

    def initialize(self, args):
        """Prepares the answer and the inputs of the calls."""
        config = json.loads(args["model_config"])
        told = json.loads(config["parameters"]["null"]["string_value"])
        types = {entry["name"]: pb_utils.triton_string_to_numpy(entry["data_type"]) for entry in config["output"]}
        self._outputs = {name: np.zeros(shape, types[name]) for name, shape in told["outputs"].items()}
        for name, values in told["values"].items():
            array = self._outputs[name]
            array[...] = np.frombuffer(base64.b64decode(values), array.dtype)
        self._calls = [
            (model, {name: np.zeros(shape, dtype) for name, (dtype, shape) in inputs.items()}, outputs) for model, inputs, outputs in told["calls"]
        ]

    def execute(self, requests):
        """One response per request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        for tensor in request.inputs():
            tensor.as_numpy()  # as a real model does
        for model, inputs, outputs in self._calls:
            tensors = [pb_utils.Tensor(name, array) for name, array in inputs.items()]
            response = pb_utils.InferenceRequest(model_name=model, requested_output_names=outputs, inputs=tensors).exec()
            for tensor in response.output_tensors():
                tensor.as_numpy()
        outputs = self._outputs
        if "TOKEN" in outputs:  # the client asks whose the answer is
            outputs = {**outputs, "TOKEN": np.frombuffer(request.request_id().encode(), np.uint8)[None]}
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in outputs.items()])
