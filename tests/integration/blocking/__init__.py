"""The members' site, where somebody of the staff blocks users and addresses."""
