"""The demo's accounts. Their passwords are known to everybody, so only the demo command makes them."""

from django.contrib.auth.models import Group, User

GROUP_NAME = "Demo accounts"
STAFF_NAME = "admin"
NAMES = (STAFF_NAME, "alice", "bob")


def create_demo_accounts() -> list[str]:
    """Make the accounts, or make them again as they were; each one's password is its name.

    Returns the names that belong to somebody else in this database and were left alone.
    """
    group, _ = Group.objects.get_or_create(name=GROUP_NAME)
    foreign = []
    for name in NAMES:
        user, created = User.objects.get_or_create(username=name)
        if not created and not user.groups.filter(pk=group.pk).exists():
            foreign.append(name)
            continue
        if created or not user.check_password(name):
            user.set_password(name)
        user.is_active = True
        user.is_staff = user.is_superuser = name == STAFF_NAME
        user.save()
        user.groups.add(group)
    return foreign


def demo_accounts_exist() -> bool:
    return User.objects.filter(groups__name=GROUP_NAME, is_active=True).exists()
