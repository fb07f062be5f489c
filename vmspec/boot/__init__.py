"""Where each kind of guest puts its parts."""
