"""Control of a running machine: a Unix socket for each machine, its protocol, the server in vmrun and the client."""
