"""How the bank reaches its engines: models of this Triton, or in this process."""

import numpy as np
import triton_python_backend_utils as pb_utils

from masklet import contract
from masklet_bank.arrays import HOST, Copied, DeviceArrays
from masklet_bank.stages import EngineError


class TritonStages:
    """The engines as models of this server. `arrays`: where the bank's arrays live."""

    def __init__(self, variant, suffix, arrays):
        self._engines = {model.name: model for model in contract.engines(variant)}
        self._suffix = suffix
        self.arrays = arrays
        self._outputs = []

    def call(self, engine, inputs):
        """Runs one engine (see masklet_bank.stages.Stages).

        On a GPU the bank's copies of what an engine gave may still wait for their turn when the bank is done with it. Triton must not use that memory
        again before; so outputs are held until the next inputs are made, which waits for all that was asked of the GPU before.
        """
        request = pb_utils.InferenceRequest(
            model_name=engine + self._suffix,
            requested_output_names=[tensor.name for tensor in self._engines[engine].outputs],
            inputs=[_tensor(name, array) for name, array in inputs.items()],
        )
        self._outputs = []
        response = request.exec()
        if response.has_error():
            raise EngineError(f"{engine} failed: {response.error().message()}")
        self._outputs = response.output_tensors()
        return {tensor.name(): array_of(tensor, self.arrays) for tensor in self._outputs}


class EmbeddedStages:
    """The engines in this process, where the target has no backend for them: no message to another process and back, no copies."""

    def __init__(self, variant, folder, parameters):
        from masklet_build.embedded.engine import Engine, device_arrays
        from masklet_build.embedded.logs import tell_triton

        tell_triton(pb_utils.Logger)
        self._engines = {
            model.name: Engine(folder / model.name, parameters, [tensor.name for tensor in model.inputs if tensor.dims[0] == "V"])
            for model in contract.engines(variant)
            if not model.batched
        }
        self.arrays = device_arrays(parameters, Copied(), DeviceArrays) or HOST
        pb_utils.Logger.log_info(f"engines of memory_bank: {next(iter(self._engines.values())).place}")

    def call(self, engine, inputs):
        """Runs one engine (see masklet_bank.stages.Stages)."""
        try:
            return self._engines[engine](inputs)
        except Exception as error:
            message = f"{engine} failed: {type(error).__name__}: {error}"
            pb_utils.Logger.log_error(message)
            raise EngineError(message) from error


class Watched:
    """Engines, with a word whenever one has answered: what takes long is then known from what hangs, however many objects share an execution."""

    def __init__(self, stages, answered):
        self._stages, self._answered = stages, answered
        self.arrays = stages.arrays

    def call(self, engine, inputs):
        """Runs one engine (see masklet_bank.stages.Stages)."""
        try:
            return self._stages.call(engine, inputs)
        finally:
            self._answered()


def _tensor(name, array):
    """A tensor for an engine. An array on a GPU goes by its address, without a copy; Triton waits until it is computed (pb_tensor.cc, FromDLPack)."""
    return pb_utils.Tensor(name, array) if isinstance(array, np.ndarray) else pb_utils.Tensor.from_dlpack(name, array)


def array_of(tensor, arrays):
    """The array of a tensor, where it lies: Triton says, tensor by tensor. It may live only as long as the tensor."""
    return tensor.as_numpy() if tensor.is_cpu() else arrays.adopt(tensor)
