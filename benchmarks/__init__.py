"""Speed, memory and accuracy of the workbench, measured beside what it should be compared with."""
