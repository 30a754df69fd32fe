"""Generation: what a model says, and how likely it finds what others say."""
