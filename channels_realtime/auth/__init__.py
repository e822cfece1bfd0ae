"""Who a connection is: authenticators, and the middleware that runs them."""
