"""Other calibration codes on the same data: their environments, tasks, command lines, and how solutions are read."""
