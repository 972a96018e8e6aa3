"""What every batch of this part can do."""

from __future__ import annotations

import torch
from torch import Tensor


class DeviceBatch:
    """Base of the dataclasses that hold a batch."""

    def to(self, device: torch.device, *, non_blocking: bool = False) -> None:
        """Move all tensors, in place, as fairseq2's trainer asks."""
        for name, value in list(vars(self).items()):
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device, non_blocking=non_blocking))
