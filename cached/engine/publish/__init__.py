"""Trees made visible at paths: in other layouts, by bind mounts, as volumes of pods."""
