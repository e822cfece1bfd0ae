"""The package's HTTP views; ``urls.py`` routes to them."""
