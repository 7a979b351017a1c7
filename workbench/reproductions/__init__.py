"""Published tables, one YAML file each, see `workbench.reproduce`."""
