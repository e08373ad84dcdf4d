"""Tensors that belong together, parted by buckets."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "python"))

from ckpt_engine.sglang.pairs import Pairs  # noqa: E402


class Tensor(str):
    """Its copy is marked."""

    def clone(self):
        return Tensor(self + "'")


def test_the_first_is_kept_until_the_second_comes():
    pairs = Pairs()
    gate, up, norm = "layers.0.mlp.gate_proj.weight", "layers.0.mlp.up_proj.weight", "norm.weight"
    query, key = "layers.0.self_attn.q_a_proj.weight", "layers.0.self_attn.kv_a_proj_with_mqa.weight"
    assert pairs.together([(norm, Tensor("n")), (gate, Tensor("g"))]) == [(norm, "n")]
    assert pairs.together([(key, Tensor("k"))]) == []
    assert pairs.together([(up, Tensor("u")), (query, Tensor("q"))]) == [(gate, "g'"), (up, "u"), (key, "k'"), (query, "q")]
    assert pairs.rest() == []


def test_what_came_together_is_not_copied_and_what_has_no_partner_comes_last():
    pairs = Pairs()
    gate, up, other = "a.gate_proj.weight", "a.up_proj.weight", "b.up_proj.weight"
    assert pairs.together([(gate, Tensor("g")), (up, Tensor("u"))]) == [(gate, "g"), (up, "u")]
    assert pairs.together([(other, Tensor("o"))]) == []
    assert pairs.rest() == [(other, "o'")]
    assert pairs.rest() == []
