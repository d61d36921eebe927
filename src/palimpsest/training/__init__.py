"""Training: rollouts, credit, objectives, rewards, and the trainers that use them."""
