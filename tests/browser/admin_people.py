"""The staff and the visitors of the site, created by ``manage.py shell``."""

import json

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission

from tests.site.members.views import _log_in


def make(names, viewers):
    """Create these users; print each user's id and login session key as JSON.

    Args:
        names: visitors.
        viewers: staff, with the codenames of their permissions; None for a superuser.
    """
    made = {}
    for name in names:
        user = get_user_model().objects.create_user(name)
        made[name] = {"id": str(user.pk), "key": _log_in(user)}
    for name, permissions in viewers.items():
        user = get_user_model().objects.create_user(
            name, is_staff=True, is_superuser=permissions is None
        )
        for codename in permissions or ():
            user.user_permissions.add(
                Permission.objects.get(
                    content_type__app_label="channels_realtime", codename=codename
                )
            )
        made[name] = {"id": str(user.pk), "key": _log_in(user)}
    print(json.dumps(made))
