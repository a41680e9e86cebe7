"""An optimizer of your own: each step moves every weight by the same amount, up or down."""

import torch


class Lion(torch.optim.Optimizer):
    """Follows the sign of a running mean of the gradients, and keeps one number for each weight where AdamW keeps two.

    Its learning rate is 3 to 10 times smaller than AdamW's. Source: Chen et al. 2023, arXiv:2302.06675.
    """

    def __init__(self, params, lr, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        """Call ``closure``, which computes loss and gradients; then move every weight that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            first, second = group["betas"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                mean = self.state[weight].setdefault("mean", torch.zeros_like(weight))
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.sub_(group["lr"] * mean.lerp(weight.grad, 1 - first).sign())
                mean.lerp_(weight.grad, 1 - second)
        return loss
