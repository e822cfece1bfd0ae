"""The HTTP views of the library; ``urls.py`` routes to them."""
