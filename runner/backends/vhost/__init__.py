"""The front end of vhost-user: other processes that serve a device's queues."""
