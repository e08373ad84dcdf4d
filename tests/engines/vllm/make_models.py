"""Makes the tiny models of the vLLM tests and the answers that are right for them. Usage: make_models.py DIRECTORY

    DIRECTORY/qwen3/v1 … v3       Hugging Face layout, several safetensors files, bfloat16; the configuration is that of all versions
    DIRECTORY/qwen3_moe/v1 … v3   experts, and an output layer that is the embedding
    DIRECTORY/<model>/answers.json

answers.json holds for each version and prompt the greedy continuation that transformers computes in float32 from the stored files: token ids, logprobs and
the distance of the runner-up. Random models have near-ties, which another implementation decides otherwise: of many prompts those are kept whose narrowest
distance, over all versions, is widest. Nothing is downloaded: the tokenizer has one token a word, "w4" … "w2047".
"""

import json
import os
import shutil
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3MoeConfig  # noqa: E402
from transformers.utils import logging  # noqa: E402

VOCABULARY, VERSIONS, NUM_NEW_TOKENS = 2048, ("v1", "v2", "v3"), 6
PROMPT_LENGTHS, CANDIDATES = (4, 20), 12

COMMON = dict(vocab_size=VOCABULARY, hidden_size=256, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=2, head_dim=32,
              max_position_embeddings=1024, bos_token_id=0, eos_token_id=1, pad_token_id=2)
CONFIGS = {
    "qwen3": Qwen3Config(intermediate_size=768, tie_word_embeddings=False, **COMMON),
    "qwen3_moe": Qwen3MoeConfig(intermediate_size=768, moe_intermediate_size=256, num_experts=8, num_experts_per_tok=2, decoder_sparse_step=1,
                                norm_topk_prob=True, mlp_only_layers=[], tie_word_embeddings=True, **COMMON),
}


def make_tokenizer() -> PreTrainedTokenizerFast:
    words = {"<s>": 0, "</s>": 1, "<pad>": 2, "<unk>": 3, **{f"w{i}": i for i in range(4, VOCABULARY)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


@torch.no_grad()
def randomise(model, seed: int) -> None:
    """Weights whose answers depend on every layer and are far from ties: matrices of unit gain, sharp routing, a sharp output."""
    generator = torch.Generator().manual_seed(seed)
    tied = model.config.tie_word_embeddings
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 1:  # norms
            parameter.copy_((1 + 0.1 * noise) * (10 if tied and name == "model.norm.weight" else 1))
        elif "embed_tokens" in name:  # a tied embedding is small, or each token would only predict itself
            parameter.copy_(noise * (0.05 if tied else 1))
        else:
            parameter.copy_(noise * (8 if "lm_head" in name or name.endswith("mlp.gate.weight") else 1) / parameter.shape[-1] ** 0.5)


@torch.no_grad()
def continuations(model, prompts: torch.Tensor):
    """Tokens, logprobs and distances of the runner-up, each [prompts, NUM_NEW_TOKENS]."""
    ids, best, second = prompts, [], []
    tokens = []
    for _ in range(NUM_NEW_TOKENS):
        top = torch.log_softmax(model(ids).logits[:, -1].float(), -1).topk(2)
        tokens.append(top.indices[:, 0])
        best.append(top.values[:, 0])
        second.append(top.values[:, 1])
        ids = torch.cat([ids, tokens[-1][:, None]], 1)
    return torch.stack(tokens, 1), torch.stack(best, 1), torch.stack(best, 1) - torch.stack(second, 1)


def answers_of(stored: dict) -> dict:
    generator, answers = torch.Generator().manual_seed(20), {version: [] for version in stored}
    for length in PROMPT_LENGTHS:
        prompts = torch.randint(4, VOCABULARY, (CANDIDATES, length), generator=generator)
        results = {version: continuations(model, prompts) for version, model in stored.items()}
        kept = int(torch.stack([distances.amin(1) for _, _, distances in results.values()]).amin(0).argmax())
        for version, (tokens, logprobs, distances) in results.items():
            answers[version].append({"prompt": prompts[kept].tolist(), "tokens": tokens[kept].tolist(),
                                     "logprobs": [round(x, 5) for x in logprobs[kept].tolist()],
                                     "distances": [round(x, 5) for x in distances[kept].tolist()]})
    return answers


def make(folder: Path, config, tokenizer) -> None:
    stored = {}
    for number, version in enumerate(VERSIONS, 1):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        randomise(model, 1000 * number)
        model.to(torch.bfloat16)
        size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
        model.save_pretrained(folder / version, max_shard_size=size // 3 + 1)
        tokenizer.save_pretrained(folder / version)
        stored[version] = AutoModelForCausalLM.from_pretrained(folder / version, dtype=torch.float32).eval()
    answers = answers_of(stored)
    (folder / "answers.json").write_text(json.dumps(answers, indent=1))
    narrowest = min(min(answer["distances"]) for version in answers.values() for answer in version)
    print(f"{folder.name}: {len(VERSIONS)} versions of {size / 1e6:.1f} MB, narrowest distance {narrowest:.3f}")


def main() -> None:
    logging.disable_progress_bar()
    out = Path(sys.argv[1])
    for name, config in CONFIGS.items():
        shutil.rmtree(out / name, ignore_errors=True)
        make(out / name, config, make_tokenizer())


if __name__ == "__main__":
    main()
