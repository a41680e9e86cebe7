from __future__ import annotations

import pytest
import torch

from headway.models.pooling import Pooling, pool

HIDDEN = torch.tensor([[[1.0, -1.0], [3.0, -3.0], [100.0, 100.0]], [[2.0, 0.0], [4.0, 2.0], [6.0, 4.0]]])
MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])


@pytest.mark.parametrize(
    ("how", "expected"),
    [("cls", [[1, -1], [2, 0]]), ("mean", [[2, -2], [4, 2]]), ("max", [[3, -1], [6, 4]])],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pooling_sees_no_padding(how, expected, dtype):
    pooled = pool(HIDDEN.to(dtype), MASK, how=how)
    assert pooled.dtype == dtype
    assert pooled.tolist() == expected


def test_pooling_without_a_mask_takes_every_token():
    assert pool(HIDDEN, None, how="mean")[1].tolist() == [4, 2]


def test_attention_begins_as_the_mean_and_learns_where_to_look():
    torch.manual_seed(0)
    pooling = Pooling("attention", hidden_size=2)
    torch.testing.assert_close(pooling(HIDDEN, MASK), pool(HIDDEN, MASK, how="mean"))
    torch.testing.assert_close(pooling(HIDDEN, None), pool(HIDDEN, None, how="mean"))
    optimizer = torch.optim.Adam(pooling.parameters(), lr=0.1)
    for _ in range(100):
        optimizer.zero_grad()
        # To find the second token of the first row, and the third of the second one.
        loss = (pooling(HIDDEN, MASK) - torch.tensor([[3.0, -3.0], [6.0, 4.0]])).square().sum()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    # What lies under the padding is not looked at, however it looks.
    changed = HIDDEN.clone()
    changed[0, 2] = -500.0
    assert torch.equal(pooling(changed, MASK), pooling(HIDDEN, MASK))
