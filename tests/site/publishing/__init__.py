"""Views, a model and a command that publish, and channels for slow clients."""
