"""Accounts, logins and permissions, and what takes them away; for the tests of revocation and blocks."""
