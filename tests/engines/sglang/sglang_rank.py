"""A process as a rank of SGLang's, as its scheduler makes it, on the CPU: real groups (gloo), real model classes, kernels by stand-ins."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

os.environ |= {"HF_HUB_OFFLINE": "1"}
HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[2]
SITE = REPOSITORY / "build/sglang/site"
MODELS = REPOSITORY / "build/vllm/models"
sys.path[:0] = [str(HERE), str(REPOSITORY / "python"), str(REPOSITORY / "python/compat"), str(SITE)]

import gpu_standins  # noqa: E402

gpu_standins.install()

import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402


def join(rank: int, world_size: int, port: int) -> None:
    """SGLang's own groups, all ranks one tensor-parallel group."""
    from sglang.srt.distributed import init_distributed_environment, initialize_model_parallel
    from sglang.srt.layers import dp_attention
    from sglang.srt.runtime_context import _ServerArgsOverride, get_context

    _ServerArgsOverride(get_context(), {"device": "cpu"}).install()
    init_distributed_environment(world_size=world_size, rank=rank, local_rank=rank, backend="gloo", distributed_init_method=f"tcp://127.0.0.1:{port}")
    initialize_model_parallel(tensor_model_parallel_size=world_size, backend="gloo")
    dp_attention._ATTN_DP_SIZE, dp_attention._ATTN_DP_RANK = 1, 0


def model_config(folder: Path):
    """SGLang's own."""
    from sglang.srt.configs.model_config import ModelConfig

    return ModelConfig(str(folder), dtype="bfloat16")


def tensors(folder: Path) -> dict:
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def differing(model, config, checkpoint: Path) -> list:
    """Parameters that are not those of a second model which SGLang loads from the files in one go."""
    from sglang.srt.model_loader import loader
    from sglang.srt.model_loader.utils import set_default_torch_dtype

    with set_default_torch_dtype(config.dtype):
        other = loader._initialize_model(config, SimpleNamespace(draft_model_idx=None))
    files = tensors(checkpoint)
    if config.hf_config.tie_word_embeddings:  # under the name that SGLang's model has for it
        files["lm_head.weight"] = files["model.embed_tokens.weight"]
    other.load_weights(files.items())
    own = dict(model.named_parameters())
    return [name for name, parameter in other.named_parameters() if not torch.equal(own[name], parameter)]
