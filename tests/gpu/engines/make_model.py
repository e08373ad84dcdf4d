"""Small random models, two versions each, and what transformers answers: make_model.py OUT qwen3|qwen3_moe …

OUT/NAME/v1 and v2 are directories as on the Hugging Face hub (config, tokenizer, safetensors in several files). OUT/NAME/answers.json holds greedy continuations,
computed in float32 from the stored bfloat16 weights: tokens, logprobs, and each token's margin to the runner-up. The weights are scaled so that margins are wide.
"""

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch  # noqa: E402
import transformers  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402

VOCABULARY, PROMPT_LENGTHS, ANSWER_LENGTH = 2048, (5, 17, 40), 12
SIZES = dict(vocab_size=VOCABULARY, hidden_size=1024, num_hidden_layers=4, num_attention_heads=16, num_key_value_heads=8, head_dim=128, intermediate_size=3072,
             max_position_embeddings=1024, bos_token_id=0, eos_token_id=1, pad_token_id=2, tie_word_embeddings=False)
EXPERTS = dict(moe_intermediate_size=512, num_experts=8, num_experts_per_tok=2, decoder_sparse_step=1, norm_topk_prob=True, mlp_only_layers=[])


def config(name: str):
    return transformers.Qwen3Config(**SIZES) if name == "qwen3" else transformers.Qwen3MoeConfig(**SIZES, **EXPERTS)


def fill(model, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 1:
            parameter.copy_(1 + noise / 10)
        elif "embed_tokens" in name:
            parameter.copy_(noise)
        else:
            parameter.copy_(noise * (4 if "lm_head" in name else 1) / parameter.shape[-1] ** 0.5)


def save(model, folder: Path) -> None:
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="40MB")
    words = {"<s>": 0, "</s>": 1, "<pad>": 2, "<unk>": 3} | {f"w{number}": number for number in range(4, VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>").save_pretrained(folder)


def answer(model, prompt: list[int], device: str) -> dict:
    ids, found = list(prompt), dict(prompt=prompt, tokens=[], logprobs=[], margins=[])
    for _ in range(ANSWER_LENGTH):
        best = torch.log_softmax(model(torch.tensor([ids], device=device)).logits[0, -1].double(), -1).topk(2)
        ids.append(int(best.indices[0]))
        found["tokens"].append(ids[-1])
        found["logprobs"].append(float(best.values[0]))
        found["margins"].append(float(best.values[0] - best.values[1]))
    return found


@torch.no_grad()
def make(out: Path, name: str, device: str) -> None:
    answers = {}
    for version in (1, 2):
        folder = out / name / f"v{version}"
        model = transformers.AutoModelForCausalLM.from_config(config(name), dtype=torch.float32)
        fill(model, version)
        save(model, folder)
        stored = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device).eval()
        generator = torch.Generator().manual_seed(20)
        prompts = [torch.randint(4, VOCABULARY, (length,), generator=generator).tolist() for length in PROMPT_LENGTHS]
        answers[f"v{version}"] = [answer(stored, prompt, device) for prompt in prompts]
    (out / name / "answers.json").write_text(json.dumps(answers))
    margins = sorted(margin for cases in answers.values() for case in cases for margin in case["margins"])
    print(f"{name}: margins from {margins[0]:.3f}, median {margins[len(margins) // 2]:.2f}", flush=True)


if __name__ == "__main__":
    torch.backends.cuda.matmul.allow_tf32 = False
    for wanted in sys.argv[2:]:
        make(Path(sys.argv[1]), wanted, "cuda" if torch.cuda.is_available() else "cpu")
