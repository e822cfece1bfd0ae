from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from boards.models import Board
from rooms.models import Room


def home(request: HttpRequest) -> HttpResponse:
    board = Board.objects.order_by("pk").first()
    context = {
        "board": board,
        "summary": f"boards/{board.pk}/summary" if board else None,
        "lobby": Room.objects.filter(slug="lobby").first(),
    }
    return render(request, "demo/home.html", context)
