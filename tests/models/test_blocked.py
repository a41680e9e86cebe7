from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from headway.models import blocked
from headway.models.blocked import can_sort, sort_weights, sorted_weights

needs_sorting = pytest.mark.skipif(not can_sort(), reason="this torch or processor has nothing for it")


class Own(nn.Linear):
    """A layer that computes in a way of its own."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) + 1


def model_of(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(48, 80), nn.Tanh(), nn.Linear(80, 16, bias=False), Own(16, 4)).to(dtype)


def is_sorted(model: nn.Module) -> list[bool]:
    return ["forward" in vars(one) for one in model.modules() if isinstance(one, nn.Linear)]


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[torch.Size]:
    """The shapes of the inputs that were multiplied by sorted weights."""
    seen: list[torch.Size] = []
    product = blocked._product

    def watched(input: torch.Tensor, *others: Any) -> torch.Tensor:
        seen.append(input.shape)
        return product(input, *others)

    monkeypatch.setattr(blocked, "_product", watched)
    return seen


@needs_sorting
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize("shape", [(1, 48), (5, 48), (0, 48), (2, 7, 48), (1, 130, 48)])
def test_the_numbers_are_the_same(
    shape: tuple[int, ...], dtype: torch.dtype, close: float, products: list[torch.Size]
) -> None:
    model, input = model_of(dtype), torch.randn(shape).to(dtype)
    with torch.inference_mode():
        expected = model(input)
        sort_weights(model)
        found = model(input)
        # What is seen of a longer array need not lie in one piece.
        part = model(torch.cat([input, input], dim=-1)[..., :48])
    torch.testing.assert_close(found, expected, rtol=close, atol=close)
    torch.testing.assert_close(part, expected, rtol=close, atol=close)
    assert len(products) == 4
    assert is_sorted(model) == [True, True, False]


@needs_sorting
@pytest.mark.parametrize("context", [torch.enable_grad, torch.no_grad, lambda: torch.autocast("cpu", torch.bfloat16)])
def test_outside_of_prediction_the_layer_is_plain(context: Callable[[], Any], products: list[torch.Size]) -> None:
    model, input = model_of(), torch.randn(3, 48, requires_grad=True)
    with context():
        expected = model(input)
        sort_weights(model)
        found = model(input)
    assert torch.equal(found, expected)
    assert found.requires_grad == expected.requires_grad
    assert not products


@needs_sorting
def test_under_autocast_the_weights_are_sorted_as_it_rounds_them(products: list[torch.Size]) -> None:
    model, input = model_of(), torch.randn(3, 48)
    bfloat16 = torch.autocast("cpu", torch.bfloat16)
    with torch.inference_mode():
        exact = model(input)
        with bfloat16:
            rounded = model(input)
        sort_weights(model)
        for _ in range(2):  # there and back
            with bfloat16:
                found = model(input)
            assert found.dtype == torch.bfloat16
            torch.testing.assert_close(found, rounded, rtol=0.02, atol=0.02)
            torch.testing.assert_close(model(input), exact)
    assert len(products) == 8


@needs_sorting
def test_precisions_that_are_not_sorted_are_plain(products: list[torch.Size]) -> None:
    model = model_of()
    sort_weights(model)
    with torch.inference_mode():
        with torch.autocast("cpu", torch.float16):
            assert model(torch.randn(3, 48)).dtype == torch.float16
        with pytest.raises(RuntimeError, match="dtype"):
            model(torch.randn(3, 48).bfloat16())
    assert not products


@needs_sorting
def test_a_model_that_is_trained_in_between_is_sorted_anew(products: list[torch.Size]) -> None:
    model, input = model_of(), torch.randn(3, 48)
    for _ in range(2):
        with sorted_weights(model), torch.inference_mode():
            found = model(input)
        assert is_sorted(model) == [False, False, False]
        with torch.inference_mode():
            torch.testing.assert_close(found, model(input))
        with torch.no_grad():
            model[0].weight.mul_(2)
    assert len(products) == 4
    with pytest.raises(ValueError, match="stopped"), sorted_weights(model):
        raise ValueError("stopped")
    assert is_sorted(model) == [False, False, False]


@needs_sorting
def test_a_model_that_is_sorted_for_good_stays_so() -> None:
    model = model_of()
    sort_weights(model)
    with sorted_weights(model):
        pass
    assert is_sorted(model) == [True, True, False]


@needs_sorting
def test_a_copy_has_weights_of_its_own() -> None:
    model, input = model_of(), torch.randn(3, 48)
    sort_weights(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.zero_()
    with torch.inference_mode():
        torch.testing.assert_close(other(input), model_of()(input))
    assert other[0].forward.linear is other[0]
    assert model.state_dict().keys() == model_of().state_dict().keys()


@pytest.mark.parametrize("fault", [RuntimeError, TypeError, AttributeError])
def test_where_torch_has_no_such_product_nothing_changes(
    fault: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*given: Any) -> None:
        raise fault("no such product")

    monkeypatch.setattr(blocked, "_product", missing)
    can_sort.cache_clear()
    try:
        assert not can_sort()
        model = model_of()
        sort_weights(model)
        with sorted_weights(model):
            assert is_sorted(model) == [False, False, False]
    finally:
        can_sort.cache_clear()


@pytest.mark.parametrize(("machine", "has_library"), [("aarch64", True), ("x86_64", False)])
def test_other_processors_are_left_alone(machine: str, has_library: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked.platform, "machine", lambda: machine)
    monkeypatch.setattr(blocked.torch.backends.mkldnn, "is_available", lambda: has_library)
    can_sort.cache_clear()
    try:
        assert not can_sort()
    finally:
        can_sort.cache_clear()


# --- a GELU behind a linear layer -------------------------------------------------------------------------------------


def activated(family: str = "bert", activation: str = "gelu", dtype: torch.dtype = torch.float32) -> Any:
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    settings = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 80}
    config = AutoConfig.for_model(family, vocab_size=20, hidden_act=activation, embedding_size=48, **settings)
    return AutoModel.from_config(config).encoder.layer[0].intermediate.to(dtype).eval()


@needs_sorting
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["bert", "roberta", "electra"])
def test_a_gelu_is_part_of_the_product(family: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    module, input = activated(family, dtype=dtype), torch.randn(3, 7, 48).to(dtype)
    exact = nn.functional.gelu(nn.functional.linear(*(one.double() for one in (input, *module.dense.parameters()))))
    with torch.inference_mode():
        plain = module(input)
        sort_weights(module)
        monkeypatch.setattr(module.intermediate_act_fn, "forward", lambda given: pytest.fail("was computed apart"))
        found = module(input)
    assert found.dtype == dtype
    errors = [(one.double() - exact).abs().mean() for one in (found, plain)]
    assert errors[0] <= 1.1 * errors[1]  # in bfloat16 the sums are not rounded in between


@needs_sorting
def test_where_a_gelu_stays_apart() -> None:
    input = torch.randn(3, 48)
    for module in (activated(activation="relu"), activated(activation="gelu_new")):
        with torch.inference_mode():
            expected = module(input)
            sort_weights(module)
            assert "forward" not in vars(module)
            torch.testing.assert_close(module(input), expected, rtol=1e-5, atol=1e-5)
    module = activated()
    expected = module(input)
    with sorted_weights(module):
        assert "forward" in vars(module)
        assert torch.equal(module(input), expected)  # somebody asks for gradients
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            assert module(input).dtype == torch.bfloat16
        seen: list[torch.Size] = []
        module.dense.register_forward_hook(lambda layer, given, output: seen.append(output.shape))
        with torch.inference_mode():
            torch.testing.assert_close(module(input), expected, rtol=1e-5, atol=1e-5)
        assert seen == [(3, 80)]
        twin = copy.deepcopy(module)
        with torch.no_grad():
            module.dense.weight.zero_()
        with torch.inference_mode():
            torch.testing.assert_close(twin(input), expected, rtol=1e-5, atol=1e-5)
    assert "forward" not in vars(module)
