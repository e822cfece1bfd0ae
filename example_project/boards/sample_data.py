from .models import Board, Card

CARDS = (
    ("todo", "Open this board in a second browser", "Sign in there as bob and drag a card."),
    (
        "todo",
        "Save a card in the admin",
        "It moves here: a signal of the model publishes the save.",
    ),
    ("todo", "Pull the network plug", "The indicator at the top shows when it reconnects."),
    ("doing", "Publish from the shell", "With REDIS_URL set: Card.objects.first().save()"),
    ("doing", "Read the tutorial", ""),
    ("done", "Start the demo", "make demo"),
)


def create_sample_board() -> None:
    """Create one board, unless there is one: a demo that starts again keeps its users' changes."""
    if Board.objects.exists():
        return
    board = Board.objects.create(name="First steps")
    # `bulk_create` sends no signals: no page is open yet.
    Card.objects.bulk_create(
        Card(board=board, status=status, title=title, notes=notes, position=float(position))
        for position, (status, title, notes) in enumerate(CARDS)
    )
