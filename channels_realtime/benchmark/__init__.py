"""What ``manage.py realtime_bench`` measures with: servers of the site and of two references, and their clients."""
