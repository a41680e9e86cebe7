"""The pretrained model: found, checked, loaded without running a stranger's code, and put under a head and a loss."""
