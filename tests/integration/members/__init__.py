"""A site with ways in and out, for the tests of revocation; its environment is in ``settings``."""
