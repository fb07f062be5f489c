"""Recordings that run again: on KVM with no device, and on the device models with no KVM."""
