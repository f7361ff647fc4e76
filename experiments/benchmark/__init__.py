"""How fast is it, and how much memory does it take? Ours beside torch, Flax, Haiku and Equinox."""
