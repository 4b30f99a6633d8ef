"""What the distributions have in common."""

from __future__ import annotations

import torch
from torch.distributions import Distribution

from sbpfast.torch._ops import require_supported


class Exact(Distribution):
    """A distribution whose tensors are checked when it is made, and whose copies by `expand` are of its own class."""

    _checked: tuple[str, ...] = ()

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for name in self._checked:
            if isinstance(value := self.__dict__.get(name), torch.Tensor):
                require_supported(type(self).__name__, name, value)

    def expand(self, batch_shape, _instance=None):
        """A view with this batch shape, of the same class."""
        return super().expand(batch_shape, self.__new__(type(self)) if _instance is None else _instance)


def expanded(self, cls, batch_shape, instance, names):
    """The body of `expand` for a distribution of one coordinate: every named parameter expanded."""
    new = self._get_checked_instance(cls, instance)
    batch_shape = torch.Size(batch_shape)
    for name in names:
        setattr(new, name, getattr(self, name).expand(batch_shape))
    super(cls, new).__init__(batch_shape, validate_args=False)
    new._validate_args = self._validate_args
    return new
