"""The kinds of value that network devices have: addresses and names of interfaces."""

import re
from typing import Any

from vmspec.schema.value import Here, Schema, Value


class MAC(Value):
    """An Ethernet address of one interface, in lower case in the model."""

    PATTERN = r"[0-9A-Fa-f][02468ACEace](:[0-9A-Fa-f]{2}){5}"

    allowed = 'six bytes such as "52:54:00:12:34:56", the first one even'

    def read(self, value: object, here: Here) -> Any:
        match value:
            case str() if not re.fullmatch(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}", value):
                return here.wrong("is not an Ethernet address", value, self.allowed)
            case str() if int(value[:2], 16) & 1:
                return here.wrong("is the address of a group, not of an interface", value, self.allowed)
            case str() if not value.strip("0:"):
                return here.wrong("must not be all zero", value, self.allowed)
            case str():
                return value.lower()
            case _:
                return here.wrong("must be a string", value, self.allowed)

    def schema(self) -> Schema:
        return {"type": "string", "pattern": f"^{self.PATTERN}$"}


class Forward(Value):
    """A port of this host that leads to one of the guest's; the model has ``protocol:address:port:guest's port``."""

    PATTERN = r"(tcp|udp):(\d{1,3}(\.\d{1,3}){3}:)?\d{1,5}:\d{1,5}"

    allowed = '"tcp:ADDRESS:PORT:GUEST-PORT" or "udp:…"; without ADDRESS it is 127.0.0.1'

    def read(self, value: object, here: Here) -> Any:
        if not isinstance(value, str):
            return here.wrong("must be a string", value, self.allowed)
        if not re.fullmatch(self.PATTERN, value, re.ASCII):
            return here.wrong("is not a port forward", value, self.allowed)
        protocol, *address, port, guest_port = value.split(":")
        if any(int(part) > 255 for part in ".".join(address).split(".") if part):
            return here.wrong("has no IPv4 address of this host", value, self.allowed)
        if not all(0 < int(number) < 1 << 16 for number in (port, guest_port)):
            return here.wrong("has a port that is not from 1 to 65535", value, self.allowed)
        return f"{protocol}:{address[0] if address else '127.0.0.1'}:{int(port)}:{int(guest_port)}"

    def schema(self) -> Schema:
        return {"type": "string", "pattern": f"^{self.PATTERN}$"}


class Interface(Value):
    """The name of a network interface of the host; %d stands for the next number that is free."""

    PATTERN = r"[^\s/:%\u0000-\u001f\u007f]+(%d)?"
    LONGEST = 15  # IFNAMSIZ, less its end

    allowed = 'a name of up to 15 bytes such as "tap0", or "vm%d"'

    def read(self, value: object, here: Here) -> Any:
        match value:
            case "." | "..":
                return here.wrong("is not the name of an interface", value, self.allowed)
            case str() if re.fullmatch(self.PATTERN, value) and len(value.encode(errors="replace")) <= self.LONGEST:
                return value
            case str():
                return here.wrong("is not the name of an interface", value, self.allowed)
            case _:
                return here.wrong("must be a string", value, self.allowed)

    def schema(self) -> Schema:
        return {"type": "string", "pattern": f"^{self.PATTERN}$", "maxLength": self.LONGEST}
