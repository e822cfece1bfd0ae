"""Authentication: authenticators, and revocation of the credentials that they accept."""
