"""The device models of a spec: one frozen class per ``[[device]]`` kind, in the modules beside this one.

A model has what the plan needs of a device: ``regions()``, its windows onto the buses, and ``irq``, its ISA interrupt
or None. The runner has its behaviour. A new device is a class in one of these modules, and a row in its ``KINDS``.
"""

from vmspec.devices import isa, net, storage, virtio

Virtio = virtio.Device | net.Device | storage.Device
Device = isa.Device | Virtio

KINDS: dict[str, type[Device]] = {**isa.KINDS, **virtio.KINDS, **net.KINDS, **storage.KINDS}
