"""What members and staff do. ``/do/<what>/`` takes its parameters from the query."""

import dataclasses
import json
import time
import uuid
from datetime import timedelta
from pathlib import Path

from django.contrib import auth
from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db import connection as database
from django.db import transaction
from django.db.models import Model
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from rest_framework_simplejwt.tokens import AccessToken

import channels_realtime
from channels_realtime import operations
from channels_realtime.models import ConnectionRecord, NodeRecord, SubscriptionRecord

from .models import Customer, Employee, Seat

ACTIONS = {}


def do(request, what):
    """Run an action, and answer with what it returned."""
    started_at = time.time()
    found = ACTIONS[what](request, **request.GET.dict())
    return JsonResponse({"found": found, "seconds": time.time() - started_at})


def action(function):
    ACTIONS[function.__name__.replace("_", "-")] = function
    return function


def _users():
    return get_user_model().objects


@action
def make_users(request, count="1", model="user"):
    """New accounts, each with its name as password."""
    manager = {"user": _users(), "customer": Customer.objects, "employee": Employee.objects}[model]
    made = []
    with transaction.atomic():
        for _ in range(int(count)):
            name = f"u{uuid.uuid4().hex[:12]}"
            made.append({"name": name, "id": str(manager.create_user(name, password=name).pk)})
    return made


def _log_in(user):
    """The key of a new login session, made as a login view makes it."""
    request = HttpRequest()
    request.session = SessionStore()
    auth.login(request, user, backend="django.contrib.auth.backends.ModelBackend")
    request.session.save()
    return request.session.session_key


@action
def make_sessions(request, count="1", user=None):
    """The keys of new login sessions: of one user, or of as many users."""
    count = int(count)
    with transaction.atomic():
        if user is not None:
            one = _users().get(pk=user)
            return [{"id": user, "key": _log_in(one)} for _ in range(count)]
        names = [f"u{uuid.uuid4().hex[:12]}" for _ in range(count)]
        users = _users().bulk_create([get_user_model()(username=name) for name in names])
        return [{"id": str(user.pk), "key": _log_in(user)} for user in users]


@action
def logout(request):
    auth.logout(request)


@action
def flush(request):
    request.session.flush()


@action
def touch(request, seconds):
    """Make the login session expire after ``seconds``."""
    request.session.set_expiry(int(seconds))


@action
def change_password(request, password):
    """As Django's own view does it."""
    request.user.set_password(password)
    request.user.save()
    auth.update_session_auth_hash(request, request.user)


@action
def change_password_slowly(request, user, saved, commit):
    """In a transaction that makes the file ``saved``, and commits once there is a file ``commit``."""
    with transaction.atomic():
        found = _users().get(pk=user)
        found.set_password("another")
        found.save()
        Path(saved).touch()
        while not Path(commit).exists():
            time.sleep(0.01)


@action
def log_in_again(request, user, password):
    found = auth.authenticate(request, username=user, password=password)
    auth.login(request, found)
    return request.session.session_key


@action
def set_password(request, user, password):
    found = _users().get(pk=user)
    found.set_password(password)
    found.save()


@action
def deactivate(request, user, model="user"):
    manager = {"user": _users(), "customer": Customer.objects, "employee": Employee.objects}[model]
    found = manager.get(pk=user)
    found.is_active = False
    found.save()


@action
def delete_user(request, user):
    _users().get(pk=user).delete()


@action
def delete_session(request, key):
    Session.objects.filter(session_key=key).delete()


@action
def revoke(request, **what):
    channels_realtime.revoke(**what)


@action
def recheck(request, **what):
    channels_realtime.recheck(**what)


@action
def publish(request, channel, payload):
    channels_realtime.publish(channel, payload)


@action
def sit(request, room, user):
    Seat.objects.create(room=room, user_pk=user)


@action
def stand_up(request, room, user):
    Seat.objects.filter(room=room, user_pk=user).delete()


@action
def sql(request, statement):
    """Change rows without Django's models and signals."""
    with database.cursor() as cursor:
        cursor.execute(statement)
        return cursor.rowcount


@action
def mint(request, user, seconds):
    """An access token that expires ``seconds`` from now."""
    token = AccessToken.for_user(_users().get(pk=user))
    token.set_exp(lifetime=timedelta(seconds=float(seconds)))
    return str(token)


@action
def seats(request, user):
    """The rooms that a user has a seat in."""
    found = Seat.objects.filter(user_pk=user).order_by("room")
    return list(found.values_list("room", flat=True))


@action
def subscribe_user(request, user, channel):
    return _plain(operations.subscribe(_users().get(pk=user), channel))


@action
def unsubscribe_user(request, user, channel, reason):
    return _plain(operations.unsubscribe(_users().get(pk=user), channel, reason=reason))


@action
def operate(request, verb, arguments="{}"):
    """An operation of the admin, from a process that may hold none of the connections."""
    return _plain(getattr(operations, verb)(**json.loads(arguments)))


def _plain(found):
    if isinstance(found, list):
        return [_plain(item) for item in found]
    if isinstance(found, Model):
        return found.pk
    if dataclasses.is_dataclass(found):
        names = [field.name for field in dataclasses.fields(found)]
        return {name: _plain(getattr(found, name)) for name in names}
    return found


@action
def registry(request):
    """The registry's rows: all nodes, the live ones, their connections by id, and subscriptions."""
    alive = list(NodeRecord.objects.alive().order_by("pk").values("pk", "pid", "server", "inbox"))
    rows = ConnectionRecord.objects.filter(node_id__in=[node["pk"] for node in alive])
    names = ("node_id", "user_pk", "user_label", "address", "auth_method", "channels", "client_id")
    return {
        "nodes": list(NodeRecord.objects.order_by("pk").values_list("pk", flat=True)),
        "alive": alive,
        "connections": {row["pk"]: row for row in rows.values("pk", *names)},
        "all_connections": ConnectionRecord.objects.count(),
        "subscriptions": sorted(SubscriptionRecord.objects.values_list("connection_id", "channel")),
    }


@action
def node_times(request):
    """Each node's age and lease in seconds, as the admin shows them."""
    nodes = NodeRecord.objects.annotate(now=NodeRecord.objects.now())
    alive = set(NodeRecord.objects.alive().values_list("pk", flat=True))
    return [
        {
            "age": (timezone.now() - node.started_at).total_seconds(),
            "lease": (node.lease_until - node.now).total_seconds(),
            "alive": node.pk in alive,
        }
        for node in nodes
    ]


@action
def block(request, seconds, **target):
    return operations.block(seconds=float(seconds), **target).pk


@action
def unblock(request, pk):
    return operations.unblock([pk])
