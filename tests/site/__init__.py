"""An app of a site under test: channels of every kind."""
