from django.apps import AppConfig


class HostMetricsConfig(AppConfig):
    name = "host_metrics"
