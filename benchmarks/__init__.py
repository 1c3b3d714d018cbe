"""What the zoo costs, beside its peers."""
