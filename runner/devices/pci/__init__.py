"""PCI functions and the host bridge: configuration space, base address registers, MSI-X. Nothing here knows what a
function does."""
