"""Whether a learner can learn on a chip: runs on simulated devices, held against budgets."""
