"""The channels of the how-to's chat, and those of the consumers beside it."""

from channels_realtime import Channel, register

from .steps import blocks, run

(code,) = blocks("chat/realtime.py")
run(code, "chat.realtime")


@register("lines/<slug:name>")
class LineChannel(Channel):
    """Every subscriber may publish."""

    public = True

    def can_publish(self, connection):
        return True
