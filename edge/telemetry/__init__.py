"""What the machine tells of itself without root: heat, clocks, power, load, memory, throttling."""
