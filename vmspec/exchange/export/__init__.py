"""The configurations of other virtual machine monitors from a spec: a writer for each tool."""
