"""`host/metrics`: one sample per second of the machine that runs the feed."""

from typing import Any

from channels_realtime import Channel, Client, action, register

from .recent import recent_samples


@register("host/metrics")
class HostMetricsChannel(Channel):
    async def can_subscribe(self, connection: Client) -> bool:
        return connection.user.is_authenticated

    @action
    def recent(self, connection: Client, payload: Any) -> dict[str, Any]:
        """The last minutes, so that a page does not start with an empty chart."""
        return {"samples": recent_samples()}
