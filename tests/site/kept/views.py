"""A page that is rendered with the position of a channel."""

from django.http import HttpResponse
from django.template import Context, Engine

_TEMPLATE = Engine(
    libraries={"channels_realtime": "channels_realtime.templatetags.channels_realtime"}
).from_string(
    "{% load channels_realtime %}{% autoescape off %}{% realtime_position channel %}{% endautoescape %}"
)


def page(request):
    return HttpResponse(_TEMPLATE.render(Context({"channel": request.GET["channel"]})))
