"""The engine as operators of torch, for whatever looks at operators instead of running Python.

    moc::pool             descriptors
    moc::route            descriptors where they are not given, scores, top-k, drop-off and drop-in
    moc::allowed          the dense mask of the reference backend
    moc::attend           mandatory and routed part under one softmax, with its log-sum-exp
    moc::attend_backward  dq, dk, dv

`moc.route`, `moc.pool` and `moc.attend` go through them where `traced` says so: in compiled functions, under dispatch
modes (torch's FLOP counter, selective checkpoints, make_fx) and on tensors that are none, such as fake ones. Elsewhere
they call the same code without the operator, which saves some 20 microseconds a call and changes no bit.

A layout goes in as its handle (`moc.handles`), settings as the string `MoCConfig.encoded`: a graph holds sizes of
tensors and settings, nothing of the layout, so it serves every layout whose tensors have the same sizes, or any sizes
where it is dynamic. What only a layout can tell, and so most of what is refused, is told when the operator runs.
"""

from moc.attention.ops.attending import allowed, attend
from moc.attention.ops.flops import register_when_counting
from moc.attention.ops.routing import pool, route

__all__ = ["allowed", "attend", "pool", "route"]

register_when_counting()
