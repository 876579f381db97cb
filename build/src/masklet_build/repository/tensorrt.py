"""Target tensorrt: plans in Triton's own tensorrt backend, and a memory bank whose arrays live on the same GPU.

What is written here follows the sources of Triton's tensorrt backend (src/instance_state.cc, src/model_state.cc) and python backend. None of it
has run on a GPU yet: docker/tensorrt.md says what that leaves open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from masklet import contract
from masklet.families import Variant
from masklet_build.embedded.shapes import Shapes
from masklet_build.engines.plans import Plan, Plans, PlansError
from masklet_build.export.profiles import steady
from masklet_build.repository.configs import KIND_GPU, AssembleError, Config

RECORDS = ("plans.json", "selftest.json")  # go along with plans; the latter is there once the selftest ran
# All models of a server are on one GPU, the first that the process sees: tensors pass between them by address. CUDA_VISIBLE_DEVICES chooses it.
_GPU = 0


def read_plans(folder: Path, variant: Variant) -> Plans:
    """The plans in `folder`, whole and of this variant and contract. Raises AssembleError."""
    try:
        plans = Plans.read(folder)
        if plans.variant != variant.name:
            raise AssembleError(f"{folder} holds plans of {plans.variant}, not {variant.name}. Name that variant, or build plans of {variant.name}.")
        plans.check_files(folder)
    except PlansError as error:
        raise AssembleError(str(error)) from error
    engines = contract.engines(variant)
    missing = [model.name for model in engines if model.name not in plans.engines]
    if missing:
        raise AssembleError(f"{folder} has no plan of {', '.join(missing)}. Build all of them: masklet-build engine {variant.name} --help")
    for model in engines:
        _check_inputs(folder, model, plans.engines[model.name], variant)
    return plans


def _check_inputs(folder: Path, model: contract.Model, plan: Plan, variant: Variant) -> None:
    lead = ("V",) if model.batched else ()
    wanted = {tensor.name: (*lead, *contract.resolve(tensor.dims, variant)) for tensor in model.inputs}
    for profile in plan.profiles:
        wrong = sorted(set(profile.inputs) ^ set(wanted)) or [name for name, dims in wanted.items() if not _fits(profile.inputs[name], dims)]
        if wrong:
            built = {name: profile.inputs[name].max for name in wrong if name in profile.inputs}
            raise AssembleError(
                f"{folder}: profile {profile.name!r} of {model.name} takes other inputs than {variant.name} gives: {', '.join(wrong)} "
                f"(built for {built or 'none of these'}). Export and build again."
            )


def _fits(shapes: Shapes, dims: Sequence[contract.Dim]) -> bool:
    """Whether every size that the variant fixes is fixed to it."""
    return all(len(shape) == len(dims) for shape in shapes) and all(
        isinstance(dim, str) or {shape[axis] for shape in shapes} == {dim} for axis, dim in enumerate(dims)
    )


def set_engine(config: Config, model: contract.Model, variant: Variant, plan: Plan) -> None:
    """Puts an engine into the tensorrt backend, with all its profiles; without a list Triton loads only the first."""
    config.platform, config.backend, config.default_model_filename = "tensorrt_plan", "tensorrt", "model.plan"
    # In order: TensorRT lays its first context on profile 0, and Triton sets the profile of the others only.
    profiles = [str(index) for index in range(len(plan.profiles))]
    config.instance_group.add(kind=KIND_GPU, count=1, gpus=[_GPU], profile=profiles)
    if len(profiles) > 1:
        # Each profile has a context of its own, and by default (STATIC) each context would take the memory that the largest profile needs.
        config.parameters["execution_context_allocation_strategy"].string_value = "ON_PROFILE_CHANGE"
    _set_graph(config, model, variant)


def _set_graph(config: Config, model: contract.Model, variant: Variant) -> None:
    """A CUDA graph of the call that comes again and again: one launch in place of hundreds. Triton launches it for calls of just these shapes, in
    whichever profile holds them.

    No graph for a range (`graph_lower_bound`): a smaller call would run in a larger graph, beside whatever lay in memory before.
    """
    shapes = steady(variant).get(model.name)
    if shapes is None:
        return
    config.optimization.cuda.graphs = True
    graph = config.optimization.cuda.graph_spec.add(batch_size=1 if model.batched else 0)
    for name, shape in shapes.items():
        graph.input[name].dim[:] = shape[1:] if model.batched else shape


def set_bank(config: Config) -> None:
    """Puts memory_bank on the GPU."""
    del config.instance_group[:]
    config.instance_group.add(kind=KIND_GPU, count=1, gpus=[_GPU])
    # Without it Triton copies every input of a python model to the host first: the features of each frame.
    config.parameters["FORCE_CPU_ONLY_INPUT_TENSORS"].string_value = "no"


def set_limits(configs: Mapping[str, Config], variant: Variant, plans: Plans) -> None:
    """Batches of image_encoder, and the limits of memory_bank, within those of the plans."""
    encoder, bank = configs["image_encoder"], configs["memory_bank"]
    encoder.max_batch_size = min(encoder.max_batch_size, plans.limits.videos)
    for name, most in _limits(variant, plans).items():
        if _over(bank, name, most):
            bank.parameters[name].string_value = str(most)


def check_bank(config: Config, variant: Variant, plans: Plans) -> None:
    """Raises AssembleError where memory_bank could make a call that no profile holds, after settings were applied."""
    for name, most in _limits(variant, plans).items():
        if _over(config, name, most):
            raise AssembleError(
                f"memory_bank.{name} is {config.parameters[name].string_value}, and the plans were built for at most {most}. "
                f"Ask for less, or build plans for larger calls: masklet-build engine {variant.name} --help"
            )


def _limits(variant: Variant, plans: Plans) -> dict[str, int]:
    """Parameter of memory_bank -> what the plans take at most, where the family itself does not keep to that."""
    family, limits = variant.family, plans.limits
    table = [
        ("max_engine_batch", limits.objects, None),
        ("max_conditioning", limits.conditioning, family.max_conditioning),
        ("max_points", limits.points, family.max_prompt_points),
        ("max_objects", limits.objects_per_video, None if family.exclusive_prompts else 1),  # only rivals meet in one object's tensors
    ]
    return {name: most for name, most, own in table if not own or own > most}


def _over(config: Config, name: str, most: int) -> bool:
    """Whether a limit allows more than `most`; 0 is no limit."""
    value = int(config.parameters[name].string_value)
    return value == 0 or value > most
