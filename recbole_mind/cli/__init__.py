"""The commands, a file each; ``main`` joins their parsers. May import every room."""
