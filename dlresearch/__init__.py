"""Deep-learning research in JAX and Flax: one trainer for convolutional, recurrent, adversarial and
self-supervised learning. Import what you need from the subpackages."""
