"""Many runs side by side: which belong together, what was measured, and which differences are real."""
