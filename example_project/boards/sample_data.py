from .models import Board, Card

CARDS = (
    ("todo", "Open this board in a second browser", "Sign in there as bob and drag a card."),
    (
        "todo",
        "Save a card in the admin",
        "It moves here, though the admin knows nothing of sockets.",
    ),
    ("todo", "Pull the network plug", "Watch the pill at the top count down and come back."),
    ("doing", "Publish from the shell", "Card.objects.first().save()"),
    ("doing", "Read the tutorial", ""),
    ("done", "Start the demo", "make demo"),
)


def create_sample_board() -> None:
    """One board, made once: a demo that is started again shows what its users made of it."""
    if Board.objects.exists():
        return
    board = Board.objects.create(name="First steps")
    # In bulk, which sends no signals: nobody is there yet to hear of them.
    Card.objects.bulk_create(
        Card(board=board, status=status, title=title, notes=notes, position=float(position))
        for position, (status, title, notes) in enumerate(CARDS)
    )
