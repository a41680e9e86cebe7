from __future__ import annotations

import pytest
import torch

from headway.models.layout import GROUP_SPAN, Layout

LENGTHS = [3, 70, 1, 20, 140, 9]


def mask_of(lengths: list[int], width: int | None = None) -> torch.Tensor:
    return (torch.arange(width or max(lengths)) < torch.tensor(lengths)[:, None]).long()


def layout_of(lengths: list[int]) -> Layout:
    layout = Layout.of(mask_of(lengths))
    assert layout is not None
    return layout


def test_what_is_packed_comes_back() -> None:
    layout, mask = layout_of(LENGTHS), mask_of(LENGTHS).bool()
    padded = torch.randn(*mask.shape, 4)
    packed = layout.pack(padded)
    assert packed.shape == (1, layout.num_tokens, 4)
    assert sum(LENGTHS) < layout.num_tokens < mask.numel()
    # The tokens of the first sequence, then those of the second, and so on; then nothing but zeros.
    assert torch.equal(packed[0, : sum(LENGTHS)], padded[mask])
    assert not packed[0, sum(LENGTHS) :].any()
    assert torch.equal(layout.pad(packed)[mask], padded[mask])
    assert torch.equal(layout.positions()[0, : sum(LENGTHS)], torch.cat([torch.arange(one) for one in LENGTHS]))


def test_gradients_go_where_the_values_came_from() -> None:
    layout, mask = layout_of(LENGTHS), mask_of(LENGTHS).bool()
    padded = torch.randn(*mask.shape, 2, requires_grad=True)
    weights = torch.randn(1, layout.num_tokens, 2)
    (layout.pack(padded) * weights).sum().backward()
    assert padded.grad is not None
    assert torch.equal(padded.grad[mask], weights[0, : sum(LENGTHS)])

    packed = torch.randn(1, layout.num_tokens, 2, requires_grad=True)
    back = torch.randn(*mask.shape, 2)
    (layout.pad(packed) * back).sum().backward()
    assert packed.grad is not None
    assert torch.equal(packed.grad[0, : sum(LENGTHS)], back[mask])
    assert not packed.grad[0, sum(LENGTHS) :].any(), "padding sends no gradient"


def test_the_vectors_of_heads_stand_as_attention_wants_them() -> None:
    layout, num_heads = layout_of(LENGTHS), 3
    vectors = torch.randn(layout.num_tokens, num_heads, 5)
    places = layout.places_of_heads(num_heads)
    padded = places.pad(vectors.reshape(-1, 5))
    sizes = [len(group.sequences) * num_heads * group.longest for group in layout.groups]
    starts = torch.tensor([0, *LENGTHS]).cumsum(0)
    seen = []
    for group, part in zip(layout.groups, padded.split(sizes), strict=True):
        blocks = part.view(-1, num_heads, group.longest, 5)
        for number, block in zip(group.sequences.tolist(), blocks, strict=True):
            length = LENGTHS[number]
            expected = vectors[starts[number] : starts[number] + length].transpose(0, 1)
            assert torch.equal(block[:, :length], expected)
            seen.append(number)
    assert sorted(seen) == list(range(len(LENGTHS)))
    back = places.pack(padded).view(-1, num_heads, 5)
    assert torch.equal(back[: sum(LENGTHS)], vectors[: sum(LENGTHS)])


def test_groups_are_of_like_length() -> None:
    layout = layout_of(LENGTHS)
    lengths = [[LENGTHS[number] for number in group.sequences.tolist()] for group in layout.groups]
    assert lengths == [[140], [70, 20, 9], [3, 1]]
    assert all(group[0] - group[-1] < GROUP_SPAN for group in lengths)
    assert [group.longest for group in layout.groups] == [140, 70, 3]
    assert layout.groups[0].is_token is None, "nothing is padded in a group of equal lengths"
    assert layout.groups[2].is_token is not None
    assert layout.groups[2].is_token.tolist() == [[True, True, True], [True, False, False]]


def test_new_numbers_of_tokens_are_few() -> None:
    found = {layout_of([300, *range(2, length)]).num_tokens for length in range(10, 40)}
    assert len(found) < 15
    assert all(number % 64 == 0 for number in found)


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(torch.ones(4, 200), id="nothing is padded"),
        pytest.param(mask_of([200, 195, 190, 180]), id="hardly anything is padded"),
        pytest.param(torch.ones(1, 200), id="one sequence"),
        pytest.param(mask_of([5, 3, 2, 1]), id="a few tokens"),
        pytest.param(mask_of([200, 40, 30, 0]), id="an empty sequence"),
        pytest.param(mask_of([200, 40, 30, 20]).flip(1), id="padding on the left"),
        pytest.param(mask_of([200, 40, 30, 20]) * (torch.arange(200) != 10), id="a hole"),
    ],
)
def test_other_batches_are_not_packed(mask: torch.Tensor) -> None:
    assert Layout.of(mask) is None


def test_a_mask_of_truth_values_serves_as_well() -> None:
    layout = Layout.of(mask_of([200, 40, 30, 20]).bool())
    assert layout is not None
    assert layout.lengths == [200, 40, 30, 20]
