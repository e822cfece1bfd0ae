"""`host/metrics`: one sample per second of the machine that runs the feed."""

from typing import TypedDict

from channels_realtime import Channel, Client, Presence, action, register

from .recent import recent_samples
from .sample import Sample


class Recent(TypedDict):
    samples: list[Sample]


@register("host/metrics")
class HostMetricsChannel(Channel):
    messages = {"sample": Sample}
    presence = Presence()

    async def can_subscribe(self, connection: Client) -> bool:
        return connection.user.is_authenticated

    @action
    def recent(self, connection: Client, payload: None) -> Recent:
        """The last minutes, so that a page does not start with an empty chart."""
        return {"samples": recent_samples()}
