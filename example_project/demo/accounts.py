"""The demo's accounts. Their passwords are public, so only the demo command creates them."""

from django.contrib.auth.models import Group, User

GROUP_NAME = "Demo accounts"
STAFF_NAME = "admin"
NAMES = (STAFF_NAME, "alice", "bob")


def create_demo_accounts() -> list[str]:
    """Create the accounts, or reset them; each password is the account's name.

    Returns the names of existing accounts that the demo did not create; it does not change them.
    """
    group, _ = Group.objects.get_or_create(name=GROUP_NAME)
    skipped = []
    for name in NAMES:
        user, created = User.objects.get_or_create(username=name)
        if not created and not user.groups.filter(pk=group.pk).exists():
            skipped.append(name)
            continue
        if created or not user.check_password(name):
            user.set_password(name)
        user.is_active = True
        user.is_staff = user.is_superuser = name == STAFF_NAME
        user.save()
        user.groups.add(group)
    return skipped


def demo_accounts_exist() -> bool:
    return User.objects.filter(groups__name=GROUP_NAME, is_active=True).exists()
