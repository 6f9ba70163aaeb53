"""The app's systemd units: what is installed, what its settings need of the machine, how it is."""
