from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from headway.errors import RecipeError
from headway.importing import Choice
from headway.models.losses import KNOWN, build_loss

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 3.0], [-1.0, 1.0, 0.2]])
TARGETS = torch.tensor([0, 1, 2])
WEIGHTS = torch.tensor([1.0, 2.0, 5.0])
CLASSES = ("cross_entropy", "focal", "bce_on_softmax")
NUMBERS = ("mse", "l1", "huber")


class Simple(nn.Module):
    """A user's loss: no keyword of headway's."""

    def forward(self, logits, targets):
        return (logits.sum(-1) - targets).abs().mean()


def loss(name, **options):
    return build_loss(Choice(name=name, options=options))


def test_cross_entropy_is_torchs_with_weights_smoothing_and_ignored_targets():
    targets = torch.tensor([0, -100, 2])
    built = build_loss(Choice(name="cross_entropy"), class_weights=WEIGHTS, label_smoothing_factor=0.1)
    expected = functional.cross_entropy(LOGITS, targets, weight=WEIGHTS, label_smoothing=0.1)
    assert built(LOGITS, targets).item() == pytest.approx(expected.item())


def test_the_weighted_mean_divides_by_the_weights():
    log_p = LOGITS.log_softmax(-1)
    by_hand = -sum(WEIGHTS[t] * log_p[i, t] for i, t in enumerate(TARGETS.tolist())) / WEIGHTS.sum()
    for name, options in (("cross_entropy", {}), ("focal", {"gamma": 0.0})):
        built = build_loss(Choice(name=name, options=options), class_weights=WEIGHTS)
        assert built(LOGITS, TARGETS).item() == pytest.approx(by_hand.item())


def test_focal_without_gamma_is_cross_entropy():
    targets = torch.tensor([0, 1, -100])
    expected = loss("cross_entropy")(LOGITS, targets).item()
    assert loss("focal", gamma=0)(LOGITS, targets).item() == pytest.approx(expected)


def test_focal_by_hand():
    # Two classes with logits (ln 3, 0): p = 3/4, so (1/4)^2 * -ln(3/4).
    logits = torch.tensor([[math.log(3.0), 0.0]])
    assert loss("focal")(logits, torch.tensor([0])).item() == pytest.approx(-math.log(0.75) / 16)


def test_binary_cross_entropy_is_torchs_with_positive_weights():
    targets = torch.tensor([[1, 0, 1], [0, 0, 1], [0, 1, 0]])
    expected = functional.binary_cross_entropy_with_logits(LOGITS, targets.float(), pos_weight=WEIGHTS).item()
    assert build_loss(Choice(name="binary_cross_entropy"), class_weights=WEIGHTS)(LOGITS, targets).item() == expected
    assert loss("binary_cross_entropy", pos_weight=[1, 2, 5])(LOGITS, targets).item() == expected


def test_binary_cross_entropy_smooths_towards_one_half():
    built = build_loss(Choice(name="binary_cross_entropy"), label_smoothing_factor=0.2)
    expected = functional.binary_cross_entropy_with_logits(LOGITS, torch.full_like(LOGITS, 0.9))
    assert built(LOGITS, torch.ones_like(LOGITS)).item() == pytest.approx(expected.item())


def test_bce_on_softmax_is_that_of_the_tutorials():
    one_hot = functional.one_hot(TARGETS, 3).float()
    expected = nn.BCELoss()(LOGITS.softmax(-1), one_hot).item()
    assert loss("bce_on_softmax")(LOGITS, TARGETS).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("name", "expected"), [("mse", 2.5), ("l1", 1.5), ("huber", 1.0)])
def test_regression_squeezes_one_column(name, expected):
    logits, targets = torch.tensor([[1.0], [4.0]]), torch.tensor([2.0, 2.0])
    assert loss(name)(logits, targets).item() == pytest.approx(expected)
    assert loss(name)(logits[:, 0], targets).item() == pytest.approx(expected)


@pytest.mark.parametrize("name", NUMBERS)
def test_regression_refuses_several_columns(name):
    with pytest.raises(ValueError, match="one number a row"):
        loss(name)(torch.zeros(2, 2), torch.zeros(2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("name", "options"), [*((name, {}) for name in sorted(KNOWN)), ("focal", {"gamma": 0.5}), ("focal", {"gamma": 0.0})]
)
def test_gradients_are_finite_at_extreme_logits(name, options, dtype):
    width = 1 if name in NUMBERS else 2
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4], [30.0, -30.0], [0.0, 0.0]], dtype=dtype)[:, :width]
    logits.requires_grad_()
    gold = torch.tensor([0, 0, 0, 1])
    value = loss(name, **options)(logits, torch.eye(2)[gold] if name == "binary_cross_entropy" else gold)
    value.backward()
    assert value.dtype == torch.float32
    assert value.shape == ()
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.dtype == dtype


@pytest.mark.parametrize("name", ["bce_on_softmax", *NUMBERS])
def test_a_loss_without_classes_to_weigh_says_so(name):
    with pytest.raises(RecipeError, match=rf"class_weights.*{name}"):
        build_loss(Choice(name=name), class_weights=WEIGHTS)


@pytest.mark.parametrize("name", ["focal", "bce_on_softmax", *NUMBERS])
def test_a_loss_that_cannot_smooth_says_so(name):
    with pytest.raises(RecipeError, match=rf"label_smoothing_factor.*{name}"):
        build_loss(Choice(name=name), label_smoothing_factor=0.1)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("focall", {}, "Did you mean 'focal'"),
        ("focal", {"gama": 2}, "Did you mean 'gamma'"),
        ("focal", {"gamma": -1}, "0 or more"),
        ("focal", {"gamma": "two"}, "cannot be constructed"),
        ("huber", {"delta": 0}, "above 0"),
        ("cross_entropy", {"class_weights": [1, 2]}, "set optimization.class_weights"),
        ("headway.types.Column", {}, "must be a subclass of torch.nn"),
    ],
)
def test_a_wrong_choice_is_explained(name, options, message):
    with pytest.raises(RecipeError, match=message):
        loss(name, **options)


@pytest.mark.parametrize("name", CLASSES[:2])
def test_too_few_class_weights_are_named(name):
    with pytest.raises(RecipeError, match="2 class weights for 3 labels"):
        build_loss(Choice(name=name), class_weights=torch.ones(2))(LOGITS, TARGETS)


def test_both_kinds_of_positive_weights_are_refused():
    with pytest.raises(RecipeError, match="Leave one out"):
        build_loss(Choice(name="binary_cross_entropy", options={"pos_weight": [1, 1, 1]}), class_weights=WEIGHTS)


def test_a_users_loss_needs_no_keyword_of_ours():
    choice = Choice(name=f"{__name__}.Simple")
    assert build_loss(choice)(torch.ones(2, 3), torch.tensor([3.0, 1.0])).item() == 1.0
    with pytest.raises(RecipeError, match="does not take 'class_weights'"):
        build_loss(choice, class_weights=WEIGHTS)


def test_class_weights_move_with_the_loss_and_stay_out_of_checkpoints():
    built = build_loss(Choice(name="cross_entropy"), class_weights=WEIGHTS.double())
    assert not built.state_dict()
    assert built.to("meta").class_weights.device.type == "meta"
