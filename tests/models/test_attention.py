from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from headway.models import attention
from headway.models.dropout import dropout

HOW = attention.How(8**-0.5, 0.0, nn.functional.dropout)
MANY_WEIGHTS = attention._MANY_WEIGHTS


def exact(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None = None) -> Tensor:
    """Return torch's own attention in double precision."""
    given = (one.double() for one in (query, key, value))
    return nn.functional.scaled_dot_product_attention(*given, attn_mask=seen, scale=HOW.scale)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ways in which attention was computed, where no number of weights is too small to leave the softmax out."""
    taken: list[str] = []
    monkeypatch.setattr(attention, "_MANY_WEIGHTS", 1)
    by_powers, by_softmax = attention._by_powers, attention._by_softmax

    def powers(*given: Any) -> Tensor | None:
        output = by_powers(*given)
        taken.append("in vain" if output is None else "powers")
        return output

    def softmax(*given: Any) -> Tensor:
        taken.append("softmax")
        return by_softmax(*given)

    monkeypatch.setattr(attention, "_by_powers", powers)
    monkeypatch.setattr(attention, "_by_softmax", softmax)
    return taken


@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize("length", [1, 15, 16, 31, 32, 33, 41, 63, 100, 127, 128, 150, 160])
def test_no_length_of_bfloat16_attention_is_special(length: int, is_masked: bool) -> None:
    """Short rows go through float32 and incomplete ones get keys that nobody sees, in training and in prediction."""
    torch.manual_seed(length)
    given = [torch.randn(3, 2, length, 8).bfloat16() for _ in range(3)]
    seen = None
    if is_masked:
        seen = torch.arange(length) < torch.tensor([length, max(1, length - 3), 1])[:, None, None, None]

    def outputs(tensors: list[Tensor], attend: Callable[..., Tensor]) -> list[Tensor]:
        leaves = [one.clone().requires_grad_() for one in tensors]
        output = attend(*leaves)
        with torch.inference_mode():
            predicted = attend(*tensors)
        return [output, predicted, *torch.autograd.grad(output.float().sin().sum(), leaves)]

    def plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=HOW.scale)

    found = outputs(given, lambda query, key, value: attention.attend(query, key, value, seen, HOW))
    expected = outputs([one.float() for one in given], plain)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.bfloat16
        torch.testing.assert_close(one.float(), other, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("size", [0.1, 1, 4])
@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize(("dtype", "length", "taken"), [
    *((torch.float32, length, ["softmax"]) for length in (2, 20, 90, 128)),
    *((torch.float32, length, ["powers"]) for length in (2, 20, 90, 128)), (torch.float32, 512, ["powers"] * 2),
    *((torch.bfloat16, length, ["powers"]) for length in (2, 20, 90, 512)),
])  # fmt: skip
def test_products_are_as_exact_as_torch(
    length: int,
    is_masked: bool,
    size: float,
    dtype: torch.dtype,
    taken: list[str],
    ways: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beside products and a softmax in bfloat16, or the fused kernel in float32, outputs may be rounded once more."""
    if taken == ["softmax"]:
        monkeypatch.setattr(attention, "_MANY_WEIGHTS", 2**30)
    torch.manual_seed(length)
    query, key, value = (torch.randn(4, 2, length, 8).to(dtype) for _ in range(3))
    given = [query * size, key, value]
    seen = torch.arange(length) < torch.tensor([length, length - 1, 1, 1])[:, None, None, None] if is_masked else None
    with torch.inference_mode():
        found = attention.attend(*given, seen, HOW)
        assert ways == taken
        if dtype == torch.bfloat16:
            other = attention._by_softmax(*given, seen, HOW)
        else:
            other = nn.functional.scaled_dot_product_attention(*given, attn_mask=seen, scale=HOW.scale)
    expected = exact(*given, seen)
    ours, theirs, whole = (one.square().mean().sqrt() for one in (found - expected, other - expected, expected))
    assert found.dtype == dtype
    assert ours <= 1.5 * theirs + torch.finfo(dtype).eps / 2 * whole


@pytest.mark.parametrize(("product", "size", "way"), [
    (300.0, 1.0, "in vain"), (-300.0, 1.0, "in vain"), (75.0, 1e36, "in vain"), (75.0, 1.0, "powers"),
    (60.0, 1.0, "powers"),
])  # fmt: skip
def test_numbers_out_of_range_take_the_way_of_the_softmax(
    product: float, size: float, way: str, ways: list[str]
) -> None:
    """Of a product of 300 no power can be held, and a large one times a value of 1e36 cannot, either."""
    query = torch.zeros(1, 2, 8, 8)
    query[..., 0] = 8**0.5
    key = torch.randn(1, 2, 8, 8)
    key[..., 0] = product
    given = [one.bfloat16() for one in (query, key, torch.randn(1, 2, 8, 8) * size)]
    with torch.inference_mode():
        found = attention.attend(*given, None, HOW)
    torch.testing.assert_close(found.double(), exact(*given), rtol=0.01, atol=0.01 * size)
    assert ways[0] == way


def test_a_token_that_sees_nothing_is_no_reason_for_nan(ways: list[str]) -> None:
    """Under a sliding window padding may see nothing: with a softmax it sees everything alike, and nobody reads it."""
    given = [torch.randn(1, 2, 8, 8) for _ in range(3)]
    seen = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    seen[..., 7, :] = False
    with torch.inference_mode():
        found = attention.attend(*(one.bfloat16() for one in given), seen, HOW)
    assert found.isfinite().all()
    assert ways == ["in vain", "softmax"]


@pytest.mark.parametrize("length", [20, 100, 128, 150, 200])
def test_a_mask_in_the_product_is_the_mask(length: int, monkeypatch: pytest.MonkeyPatch, ways: list[str]) -> None:
    given = [torch.randn(3, 2, length, 8).bfloat16() for _ in range(3)]
    thin = torch.arange(length) < torch.tensor([length, length - 15, 1])[:, None, None, None]
    pads: list[Any] = []
    pad = nn.functional.pad
    monkeypatch.setattr("headway.models.attention.functional.pad", lambda one, by: pads.append(by) or pad(one, by))
    with torch.inference_mode():
        expected = attention.attend(*given, thin.expand(3, 1, length, length).contiguous(), HOW)
        assert not pads
        torch.testing.assert_close(attention.attend(*given, thin, HOW), expected, rtol=0, atol=0)
        assert pads == [(0, 2), (0, 2)]
    assert ways == ["powers", "powers"]


@pytest.mark.parametrize(("dtype", "length", "way"), [
    (torch.bfloat16, 512, ["powers"]), (torch.bfloat16, 513, []), (torch.bfloat16, 1, ["softmax"]),
    (torch.float32, 512, ["powers"]), (torch.float32, 513, []), (torch.float32, 1, []), (torch.float16, 20, []),
])  # fmt: skip
def test_which_way_is_taken(dtype: torch.dtype, length: int, way: list[str], ways: list[str]) -> None:
    """No products where the fused kernel is faster; a softmax in training, and where one token asks."""
    query, key = (torch.randn(1, 2, number, 8).to(dtype) for number in (length, 20))
    with torch.inference_mode():
        attention.attend(query, key, key, None, HOW)
    assert ways == way
    ways.clear()
    attention.attend(query, key, key, None, HOW)
    assert ways == (["softmax"] if dtype == torch.bfloat16 and length <= 512 else [])


@pytest.mark.parametrize("at_once", [1, 2, 3])
@pytest.mark.parametrize("masks", [0, 1, 5])
def test_texts_are_taken_as_many_at_a_time_as_caches_hold(
    at_once: int, masks: int, monkeypatch: pytest.MonkeyPatch, ways: list[str]
) -> None:
    """In bfloat16 all at once: the last part would be a product of its own size, which has to be prepared."""
    given = [torch.randn(5, 2, 40, 8) for _ in range(3)]
    seen = torch.arange(40) < torch.arange(40, 40 - masks, -1)[:, None, None, None] if masks else None
    with torch.inference_mode():
        whole = attention.attend(*given, seen, HOW)
        monkeypatch.setattr(attention, "_CACHED_WEIGHTS", at_once * 2 * 40 * 40)
        torch.testing.assert_close(attention.attend(*given, seen, HOW), whole)
        assert ways == ["powers"] * (1 + -(-5 // at_once))
        ways.clear()
        attention.attend(*(one.bfloat16() for one in given), seen, HOW)
    assert ways == ["powers"]


def test_one_text_out_of_range_sends_all_another_way(monkeypatch: pytest.MonkeyPatch, ways: list[str]) -> None:
    query, key, value = (torch.randn(3, 2, 200, 8) for _ in range(3))
    query[1] *= 1000
    monkeypatch.setattr(attention, "_CACHED_WEIGHTS", 1)
    with torch.inference_mode():
        found = attention.attend(query, key, value, None, HOW)
    torch.testing.assert_close(found.double(), exact(query, key, value), rtol=1e-3, atol=1e-3)
    assert ways == ["powers", "in vain"]


@pytest.mark.parametrize(("keys", "dtype"), [(20, torch.float32), (128, torch.float32), (129, torch.bfloat16)])
def test_one_query_is_trained_in_float32_with_the_same_weights_dropped(
    keys: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under autocast, too, which would round the numbers before each product."""
    torch.manual_seed(0)
    query, key = (torch.randn(3, 2, number, 8).bfloat16().requires_grad_() for number in (1, keys))
    seen = torch.arange(keys) < torch.tensor([keys, keys - 3, 5])[:, None, None, None]
    how = attention.How(HOW.scale, 0.5, dropout)
    products: list[torch.dtype] = []
    matmul = torch.matmul

    def watched(*given: Tensor) -> Tensor:
        product = matmul(*given)
        products.append(product.dtype)
        return product

    monkeypatch.setattr(torch, "matmul", watched)
    results = []
    for longest in (attention._SHORT, 0):
        monkeypatch.setattr(attention, "_SHORT", longest)
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16):
            output = attention.attend(query, key, key, seen, how)
        assert output.dtype == torch.bfloat16
        results.append([output, *torch.autograd.grad(output.float().sin().sum(), (query, key))])
    assert products == [dtype] * 2 + [torch.bfloat16] * 2
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(("dtype", "length", "way"), [
    (torch.bfloat16, 200, ["softmax"]), (torch.float32, 128, ["softmax"]), (torch.float32, 129, []),
])  # fmt: skip
def test_a_few_weights_are_not_worth_it(
    dtype: torch.dtype, length: int, way: list[str], ways: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MANY_WEIGHTS > 1
    monkeypatch.setattr(attention, "_MANY_WEIGHTS", MANY_WEIGHTS)
    given = torch.randn(1, 2, length, 8).to(dtype)
    with torch.inference_mode():
        attention.attend(given, given, given, None, HOW)
    assert ways == way
