"""Reinforcement learning with a running vLLM: it makes the rollouts, torch trains, and after every step the new weights are in vLLM.

    python train.py MODEL_DIRECTORY --url http://127.0.0.1:8000

    vLLM ── completions ──▶ reward ──▶ gradient step (torch) ──▶ ParameterServer ── weights, version ──▶ vLLM

The policy is a small causal model, the task a toy: emit tokens with even numbers. The algorithm is GRPO with one gradient step a batch: a sample is worth
what its reward is above the mean of its prompt's other samples. Each step checks that its rollouts come from the weights of the step: torch's logprobs of
the sampled tokens are those that vLLM has told. docs/guide/rl.md starts from nothing.
"""

from __future__ import annotations

import argparse
import json
import time
import urllib.request
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from transformers import AutoModelForCausalLM

from ckpt_engine.ps import ParameterServer

HTTP_SECONDS = 120


def ask(url: str, path: str, body: Optional[Dict[str, Any]] = None) -> Any:
    """GET, or POST of a JSON body. Raises OSError where the engine does not answer, or not with 200."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=HTTP_SECONDS) as reply:
        return json.load(reply)


def roll_out(arguments: argparse.Namespace, prompts: torch.Tensor, seed: int) -> Tuple[torch.Tensor, torch.Tensor]:
    """Samples of vLLM: token numbers and their logprobs, both [prompts * samples, tokens], those of a prompt beside each other."""
    body = {"model": arguments.served_model, "prompt": prompts.tolist(), "n": arguments.samples, "max_tokens": arguments.tokens, "temperature": 1.0,
            "seed": seed, "logprobs": 0, "return_token_ids": True, "ignore_eos": True}
    choices = sorted(ask(arguments.url, "/v1/completions", body)["choices"], key=lambda choice: int(choice["index"]))
    return torch.tensor([c["token_ids"] for c in choices]), torch.tensor([c["logprobs"]["token_logprobs"] for c in choices])


def logprobs_of(model: torch.nn.Module, prompts: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
    """What the policy thinks of each sampled token: [rows, tokens], in float32."""
    logits = model(torch.cat([prompts, samples], 1)).logits[:, prompts.shape[1] - 1 : -1]
    return torch.log_softmax(logits.float(), -1).gather(-1, samples[..., None])[..., 0]


def rewards_of(samples: torch.Tensor) -> torch.Tensor:
    """The toy: the share of even numbers in a sample, 0 to 1. [rows]"""
    return (samples % 2 == 0).float().mean(1)


def advantages_of(rewards: torch.Tensor, samples_per_prompt: int) -> torch.Tensor:
    groups = rewards.view(-1, samples_per_prompt)
    return ((groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-6)).view(-1)


def put_into_engine(server: ParameterServer, model: torch.nn.Module, arguments: argparse.Namespace, version: str) -> Dict[str, float]:
    """The model's weights into vLLM, under a version's name: requests are held meanwhile and go on afterwards. Returns seconds by part.

    The tensors are read where they lie, on the CPU or the GPU. When this raises, vLLM has the version before, or stays paused until the next update.
    """
    begin = time.monotonic()
    dtype = getattr(torch, arguments.dtype)
    tensors = {name: parameter.detach().to(dtype) for name, parameter in model.named_parameters()}
    server.register_checkpoint(version, named_tensors=tensors, use_shared_memory_pool=True)  # the pool's memory is used again in every step
    registered = time.monotonic()
    try:
        server.gather_metas(version)
        report = server.update_engines(version, [arguments.url], engine="vllm", weight_version=version, keep_slots=True)
    finally:
        server.unregister_checkpoint(version)
    stages = {name: float(stage["seconds"]) for name, stage in report["stages"].items()}
    return {"register": registered - begin, "connect": stages["connect"], "hand-over": stages["fill"] + stages["hand-over"],
            "commit": stages["release"] + stages["commit"], "update": time.monotonic() - begin}


def train(arguments: argparse.Namespace, after_step: Callable[[Dict[str, Any]], None]) -> List[Dict[str, Any]]:
    """All steps; returns what each has seen, and tells it to `after_step` when the step's weights are in the engine."""
    torch.manual_seed(arguments.seed)
    device = torch.device(arguments.device)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=arguments.learning_rate)
    prompts = torch.randint(4, model.config.vocab_size, (arguments.prompts, 4))
    rows = prompts.repeat_interleave(arguments.samples, 0).to(device)
    seen: List[Dict[str, Any]] = []
    with ParameterServer(settings={"device": "host" if device.type == "cpu" else "cuda"}) as server:
        put_into_engine(server, model, arguments, "step-0")
        for step in range(arguments.steps):
            version = ask(arguments.url, "/weight_info")["weight_version"]
            if version != f"step-{step}":
                raise RuntimeError(f"vLLM serves version {version} in step {step}: somebody else updates it")
            samples, told = (tensor.to(device) for tensor in roll_out(arguments, prompts, arguments.seed + step))
            logprobs = logprobs_of(model, rows, samples)
            difference = (logprobs.detach() - told).abs().max().item()
            if difference > arguments.tolerance:
                raise RuntimeError(f"step {step}: vLLM's logprobs differ by {difference:.4f}: the rollouts are not of these weights")
            rewards = rewards_of(samples)
            advantages = advantages_of(rewards, arguments.samples)
            optimizer.zero_grad()
            (-advantages[:, None] * logprobs).mean().backward()
            optimizer.step()
            seconds = put_into_engine(server, model, arguments, f"step-{step + 1}")
            with torch.no_grad():  # how far the same tokens are from the next version: the difference above would be as large, were a rollout a step late
                moved = (logprobs_of(model, rows, samples) - told).abs().max().item()
            seen.append({"step": step, "version": version, "reward": rewards.mean().item(), "difference": difference, "moved": moved, "seconds": seconds})
            after_step(seen[-1])
    return seen


def print_step(seen: Dict[str, Any]) -> None:
    parts = ", ".join(f"{part} {1e3 * seconds:.1f}" for part, seconds in seen["seconds"].items() if part != "update")
    print(f"step {seen['step']:2}  reward {seen['reward']:.3f}  rollouts of {seen['version']:8} logprobs differ by {seen['difference']:.5f} "
          f"(next version: {seen['moved']:.2f})  update {1e3 * seen['seconds']['update']:.0f} ms: {parts}", flush=True)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("model", help="directory of the policy, as make_model.py or Hugging Face write it")
    made.add_argument("--url", default="http://127.0.0.1:8000", help="the vLLM that makes rollouts and gets the weights")
    made.add_argument("--served-model", default="model", help="the name that it was started with (--served-model-name)")
    made.add_argument("--device", default="cpu", help="where torch trains: cpu, or cuda:0, the GPU that vLLM's worker uses")
    made.add_argument("--dtype", default="float32", help="of the weights that are sent: vLLM's (--dtype)")
    made.add_argument("--tolerance", type=float, default=0.01, help="how far logprobs may differ; in bfloat16 more: 0.5")
    made.add_argument("--steps", type=int, default=10)
    made.add_argument("--prompts", type=int, default=4)
    made.add_argument("--samples", type=int, default=8, help="for each prompt")
    made.add_argument("--tokens", type=int, default=16, help="of each sample")
    made.add_argument("--learning-rate", type=float, default=1e-2)
    made.add_argument("--seed", type=int, default=1)
    return made


if __name__ == "__main__":
    train(parser().parse_args(), print_step)
