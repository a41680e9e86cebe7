"""A schedule of your own: the learning rate rises, stays, and falls to zero at the end."""

from torch.optim.lr_scheduler import LambdaLR


class WarmupStableDecay(LambdaLR):
    """A straight rise over the warm-up, the full rate, and a straight fall over the last ``decay_ratio`` of the run.

    Source: Hu et al. 2024, MiniCPM, arXiv:2404.06395.
    """

    def __init__(self, optimizer, *, total_steps, warmup_steps, decay_ratio=0.2):
        if not 0 < decay_ratio <= 1:
            raise ValueError(f"decay_ratio must lie above 0 and not above 1, found {decay_ratio}")
        fall = decay_ratio * total_steps

        def share(step):
            rise = step / warmup_steps if warmup_steps else 1.0
            return min(rise, 1.0, (total_steps - step) / fall)

        super().__init__(optimizer, share)
