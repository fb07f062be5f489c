"""Answer three questions about the trace of a Linux boot with pandas.

    python questions.py boot.arrow

Where does boot time go? Which ports are hot? Which accesses did no device claim?
"""

import sys

import pandas as pd

import tracer
from tracer.read.console import Console
from vmspec.trace.record import FLAGS

# A phase begins with the first console line that contains its text.
PHASES = {
    "before the first line": None,
    "printing the log so far": "Linux version",
    "processors, timekeeping": "printk: console [ttyS0] enabled",
    "kernel subsystems": "devtmpfs: initialized",
    "drivers": "Serial: 8250/16550 driver",
    "init": "as init process",
    "shutting down": "reboot:",
}
SECOND = 1e9  # ns


def exits(trace: tracer.Trace) -> pd.DataFrame:
    """All exits, with two times in seconds: ``handling`` in vmrun, and ``kvm_run`` in KVM_RUN before the exit."""
    frame = trace.to_pandas()
    frame["handling"] = (frame["t_entry"] - frame["t_exit"]) / SECOND
    frame["kvm_run"] = (frame["t_exit"] - frame.groupby("vcpu")["t_entry"].shift(fill_value=0)) / SECOND
    return frame


def console(trace: tracer.Trace) -> pd.DataFrame:
    """The console's lines. ``t`` is the time of a line's first byte, in ns."""
    lines = Console(trace.table, trace.devices).lines()
    return pd.DataFrame({"t": [line.t for line in lines], "line": [line.text for line in lines]}).astype({"t": "int64"})


def boot_time(exits: pd.DataFrame, console: pd.DataFrame) -> pd.DataFrame:
    """The length of each phase of the boot, and where the first vCPU spent it, in seconds."""
    begins = {name: 0 for name, text in PHASES.items() if text is None}
    for name, text in PHASES.items():
        if text is not None and (found := console["line"].str.contains(text, regex=False)).any():
            begins[name] = console.loc[found.idxmax(), "t"]
    phases = pd.DataFrame({"t_exit": begins.values(), "phase": begins.keys()}).sort_values("t_exit")
    # Each exit belongs to the last phase that began before it.
    placed = pd.merge_asof(exits[exits["vcpu"] == 0], phases, on="t_exit")
    table = placed.groupby("phase", sort=False)[["kvm_run", "handling"]].sum()
    table.insert(0, "seconds", table.sum(axis=1))
    table["exits"] = placed.groupby("phase", sort=False).size()
    return table


def hot_ports(exits: pd.DataFrame, top: int = 10) -> pd.DataFrame:
    """The ports with the most handling time."""
    ports = exits[exits["reason"] == "io"].groupby(["device", "addr", "direction"], observed=True)
    table = ports["handling"].agg(exits="size", seconds="sum", median_us=lambda each: each.median() * 1e6)
    table["share"] = table["seconds"] / exits["handling"].sum()
    return table.sort_values("seconds", ascending=False).head(top).rename(index=hex, level="addr")


def unclaimed(exits: pd.DataFrame, console: pd.DataFrame) -> pd.DataFrame:
    """The accesses that no device claimed, in the order of their first exit, with the console line before it."""
    lost = exits[exits["flags"] & FLAGS["UNCLAIMED"] != 0]
    tried = pd.merge_asof(lost, console.rename(columns={"t": "t_exit"}), on="t_exit").fillna({"line": "(none yet)"})
    table = tried.groupby(["reason", "addr"], observed=True).agg(
        first=("t_exit", "min"), exits=("seq", "size"), instructions=("rip", "nunique"), after=("line", "first")
    )
    table["first"] /= SECOND
    table["after"] = table["after"].str.replace(r"^\[ *[\d.]+\] ", "", regex=True).str.slice(0, 50)
    return table.sort_values("first").rename(index=hex, level="addr")


def main(path: str) -> None:
    trace = tracer.load(path)
    frame, lines = exits(trace), console(trace)
    answers = {
        "Where does boot time go? (seconds, vCPU 0)": boot_time(frame, lines),
        "Which ports are hot? (by handling time)": hot_ports(frame),
        "Which accesses did no device claim?": unclaimed(frame, lines),
    }
    for question, answer in answers.items():
        print(f"{question}\n{answer.to_string(float_format='{:.3f}'.format)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
