"""The programs that fetch a model, each with settings that suit it."""
