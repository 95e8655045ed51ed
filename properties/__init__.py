"""The defaults of recbole-mind, as YAML."""
