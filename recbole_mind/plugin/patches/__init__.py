"""What RecBole 1.2.1 gets wrong, each with its reason, mended from outside."""
